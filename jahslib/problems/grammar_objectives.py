"""Objectives of study 03 by the source's names, with the spaces of each.

Source: Schrodi et al., NeurIPS 2023 (arXiv 2211.01842).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from jahslib.core.problem import Job, Outcome
from jahslib.data import registry
from jahslib.errors import Bounds, Count, UserError, refuse_unknown
from jahslib.extras import extra
from jahslib.models import activation_functions, darts_network
from jahslib.models.layers import count_parameters
from jahslib.problems.grammar_networks import CIFAR10, NB201
from jahslib.spaces.grammars.terms import Term

with extra("training"):
    import torch
    from torch import nn

with extra("notebooks"):
    from pydantic import AfterValidator


@dataclass
class ActivationFunctions(NB201):
    """Search for activation functions in a ResNet-20, with the options of `NB201`.

    `width` is that of the ResNet's first stage. The source trains 64,000 steps on nine tenths of CIFAR-10's training
    images, the other tenth being held back. Departures: the same number of whole epochs; no training is stopped at step
    10,000 for an error above .4; the held-back images are drawn at random.
    """

    grammar: str = "activation"

    spaces = ("activation",)
    protocols: ClassVar = {
        "act_cifar10": CIFAR10
        | {"data": "cifar10", "validation_share": 0.1, "max_epochs": 182, "batch_size": 128, "lr": 0.1}
        | {"weight_decay": 1e-4, "flip": True, "crop": 4, "bf16": True}
    }
    annealing = "steps"

    def count_parameters(self, term: Term) -> int:
        return count_parameters(self.network, term, torch.Generator())

    def network(self, term: Term, generator: torch.Generator) -> nn.Module:
        return activation_functions.build(term, width=self.width, **self.ends, generator=generator)


@dataclass
class DartsCells(NB201):
    """Search for DARTS's normal and reduction cells, in a network of `layers` cells, with the options of `NB201`.

    The error is the mean over the `last` epochs, of those that a trial itself trains; in the source, of 50 on one half
    of CIFAR-10's training images. Departures: validation images are not augmented; the two cells are one term, so that
    one kernel compares them, where theirs has a kernel for each.
    """

    grammar: str = "darts-cells"
    curves: bool = field(default=True, init=False)
    layers: Count = 8
    last: Count = 5
    width: Annotated[int, Bounds(2)] = 16

    spaces = ("darts-cells",)
    protocols: ClassVar = {
        "darts_cifar10": CIFAR10
        | {"data": "cifar10", "validation_share": 0.5, "max_epochs": 50, "lr": 0.025, "flip": True, "crop": 4}
    }
    clip = 5.0  # norm of the gradient

    def evaluate(self, job: Job) -> Outcome:
        outcome = super().evaluate(job)
        errors = outcome.curve.get(self.curve_metric, [])[-self.last :]
        if self.split == "test" or not errors:
            return outcome
        return replace(outcome, metrics=outcome.metrics | {self.curve_metric: sum(errors) / len(errors)})

    def count_parameters(self, term: Term) -> int:
        return count_parameters(self.network, term, torch.Generator())

    def network(self, term: Term, generator: torch.Generator) -> nn.Module:
        return darts_network.build(term, width=self.width, layers=self.layers, **self.ends, generator=generator)


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
