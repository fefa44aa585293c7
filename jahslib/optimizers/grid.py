"""Grid search: every combination of evenly spaced values, for `Listed` to propose."""

import itertools
import math
from collections.abc import Mapping

import numpy as np
from ConfigSpace import ConfigurationSpace

from jahslib.core.trials import Configuration
from jahslib.errors import Count, UserError, bounded
from jahslib.spaces import configurations as spaces


def grid(
    space: ConfigurationSpace, counts: Mapping[str, int], rng: np.random.Generator | None = None
) -> list[Configuration]:
    """List all combinations of `counts[name]` values of each hyperparameter.

    Values are the midpoints of equal parts of the range (on its own scale, linear or logarithmic); of a choice, that
    many of its values. In the space's order, the last hyperparameter varying fastest, or shuffled by `rng`: a search
    that a budget ends early then has no preferred corner. Combinations that differ only in inactive hyperparameters
    appear once.

    Raises:
        UserError: a hyperparameter without a count, an unknown one, or a count below 1; or the space as in
            `refuse_unbounded`.
    """
    spaces.refuse_unbounded(space, "grid")
    if not isinstance(counts, Mapping) or set(counts) != set(space):
        raise UserError(f"grid: the space has {', '.join(space)}; give exactly these a count, not {counts!r}")
    counts = {name: bounded(f"grid: values of {name}", count, Count) for name, count in counts.items()}
    axes = [[(i + 0.5) / counts[name] for i in range(counts[name])] for name in space]
    points = (spaces.from_unit(space, point) for point in itertools.product(*axes))
    configurations = list({spaces.key(configuration): configuration for configuration in points}.values())
    if rng is not None:
        rng.shuffle(configurations)  # type: ignore[arg-type]
    return configurations


def even_counts(space: ConfigurationSpace, trials: int) -> dict[str, int]:
    """Compute the number of values of each hyperparameter for an even grid of at most `trials` points.

    Values are added one at a time, to the hyperparameter that has fewest, the space's first ones first; choices get no
    more values than they have. Three hyperparameters and 25 trials give 4 x 3 x 2.

    Raises:
        UserError: `trials` is below 1.
    """
    if trials < 1:
        raise UserError(f"grid: no grid has {trials} points; give at least 1 trial")
    most = {name: hp.size for name, hp in space.items()}  # of a float's it is infinite
    counts = dict.fromkeys(space, 1)
    while True:
        size = math.prod(counts.values())
        can_grow = [n for n, c in counts.items() if c < most[n] and size // c * (c + 1) <= trials]
        if not can_grow:
            return counts
        counts[min(can_grow, key=counts.__getitem__)] += 1
