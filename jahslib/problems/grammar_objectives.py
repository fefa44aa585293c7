"""Objectives of study 03 by the source's names, with the spaces of each.

Source: Schrodi et al., NeurIPS 2023 (arXiv 2211.01842).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from jahslib.data import registry
from jahslib.errors import UserError, refuse_unknown
from jahslib.extras import extra
from jahslib.problems.activation_functions import ActivationFunctions
from jahslib.problems.cells.darts_cells import DartsCells
from jahslib.problems.grammar_networks import NB201

with extra("notebooks"):
    from pydantic import AfterValidator

_CLASSES = {objective: kind for kind in (NB201, ActivationFunctions, DartsCells) for objective in kind.protocols}

# Objective -> the spaces that it can be searched over.
OBJECTIVES: dict[str, tuple[str, ...]] = {objective: kind.spaces for objective, kind in _CLASSES.items()}

# The source's names of spaces -> ours.
SOURCE_SPACES = {
    "variable_multi_multi": "hierarchical",
    "fixed_1_none": "cell-based",
    "act_cifar10": "activation",
    "darts_cifar10": "darts-cells",
}

# A setting that is the name of a space, the source's or ours, and becomes ours.
Space = Annotated[str, AfterValidator(lambda name: SOURCE_SPACES.get(name.removeprefix("nb201_"), name))]


def tasks(objectives: Sequence[str], spaces: Sequence[str], *, all_used: bool) -> list[tuple[str, str]]:
    """Pair objectives with spaces; an objective with a single space always gets that.

    Raises `UserError` for an objective without one of these spaces and, with `all_used`, for a space over which none of
    the objectives is searched.
    """
    found = []
    for objective in objectives:
        own = OBJECTIVES[objective]
        fitting = [space for space in spaces if space in own] if len(own) > 1 else own
        if not fitting:
            known = ", ".join(own)
            raise UserError(f"search_space: none of {objective}'s is among those given; choose from {known}")
        found += [(objective, space) for space in fitting]
    if all_used:
        refuse_unknown("search_space:", spaces, [s for objective in objectives for s in OBJECTIVES[objective]])
    return found


def problem(objective: str, *, data: Mapping[str, str] | str | None = None, **options: Any) -> NB201:
    """Build the problem of one of `OBJECTIVES`, with some options of `NB201` changed.

    Args:
        data: images instead of the objective's, or such by objective. The problem is then named after them (act_digits)
            and their channels are standardised alike.

    Raises:
        UserError: an objective, an option or a data set that is unknown, or an impossible value.
    """
    images = data
    if isinstance(data, Mapping):
        refuse_unknown("data:", data, OBJECTIVES)
        images = data.get(objective)
    if images is not None:
        channels = registry.load(images).shape["channels"]
        own = {"name": f"{objective.partition('_')[0]}_{images}", "data": images}
        options = own | {"mean": (127.5,) * channels, "std": (63.75,) * channels} | options
    refuse_unknown("objective:", [objective], OBJECTIVES)
    return _CLASSES[objective].of(objective, **options)
