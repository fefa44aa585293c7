"""Study 05's ablation: networks of equal size that differ only in how their cells were found."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from ConfigSpace import ConfigurationSpace
from torch import Tensor

from jahslib.core.trials import Configuration
from jahslib.errors import UserError
from jahslib.models.darts.stacking import uniform_probabilities
from jahslib.problems.darts.cell_search import CellsFound
from jahslib.problems.darts.stacked_cells import Levels, StackedCells


class Arm(NamedTuple):
    """One way of finding cells.

    `variant`: of DARTS, "none" for cells without a search; `stopped`: whether early stopping ended it;
    `source`: whether cells are "sampled", or the most probable one ("argmax"), or "uniform" without a search.
    """

    variant: str
    stopped: bool
    source: str

    def epochs(self, found: CellsFound | None) -> int:
        """Return the epoch of DARTS whose architecture weights are used; 0 without a search."""
        if found is None:
            return 0
        return found.epochs_until_stop() if self.stopped else len(found.trial.outputs["alphas"])

    def probabilities(self, found: CellsFound | None) -> Tensor:
        """Return the `6 x 5` probabilities from which cells are drawn."""
        return uniform_probabilities() if found is None else found.probabilities(self.epochs(found))


# Skip prevention on and off, early stopping on and off, cells sampled and the most probable; and no search.
ARMS = [
    *(Arm(*arm) for arm in product(("prevented", "plain"), (True, False), ("sampled", "argmax"))),
    Arm("none", False, "uniform"),
]


def configurations(
    network: Mapping[str, Any], recipe: Mapping[str, Any], candidates: Levels, count: int
) -> list[Configuration]:
    """Build stacks of the supernet's shape, the i-th with the i-th candidate at each level.

    `network`: options of `jahslib.models.darts.supernet.Supernet`; `recipe`: hyperparameters of all trainings.
    """
    fixed: Configuration = {**recipe, "dropout": network["dropout"], "n_fc_layers": len(network["fc"])}
    fixed |= {f"n_out_features_fc_{i}": width for i, width in enumerate(network["fc"], start=1)}
    fixed["n_cells"] = len(network["out_channels"])
    found = []
    for i in range(count):
        own = dict(fixed)
        layers = zip(network["out_channels"], network["pooling"], candidates, strict=False)
        for level, (width, pool, choices) in enumerate(layers, start=1):
            own[f"cell_{level}"] = choices[i % len(choices)]
            own |= {f"out_channels_{level}": width, f"use_max_pooling_{level}": pool}
        found.append(own)
    return found


def resized(problem: StackedCells, configuration: Configuration, params: float) -> Configuration:
    """Scale the channels of a stack by one factor to the size nearest to `params` parameters, by their ratio.

    Only widths in the problem's range count, and only networks within its limit of operations: without equal sizes a
    comparison of cells is one of how many parameters each kind of cell happens to have.

    Raises:
        UserError: no width respects the limit.
    """
    names = [f"out_channels_{level}" for level in range(1, configuration["n_cells"] + 1)]
    low, high = problem.widths
    scaled: list[Configuration] = []  # ever wider, so that both sizes ascend
    for factor in np.geomspace(1 / 16, 16, 81):
        made = configuration | {name: min(max(round(factor * configuration[name]), low), high) for name in names}
        if made not in scaled[-1:]:
            scaled.append(made)
    if (limit := problem.max_mflops) is not None:
        del scaled[bisect_right(scaled, limit, key=lambda c: problem.known(c)["mflops"]) :]
        if not scaled:
            raise UserError(f"max_mflops {limit:g}: a stack of this shape needs more at any width; give more")
    above = bisect_left(scaled, params, key=lambda c: problem.known(c)["params"])
    around = scaled[max(0, above - 1) : above + 1]
    return min(around, key=lambda c: abs(math.log(problem.known(c)["params"] / params)))


def refuse_illegal(option: str, values: Mapping[str, Any], space: ConfigurationSpace) -> None:
    """Raise `UserError` for the first hyperparameter whose name or value is not in the space."""
    for name, value in values.items():
        if name not in space or not space[name].legal_value(value):
            raise UserError(f"{option}: {name}={value!r} is no setting of a stack of cells")
