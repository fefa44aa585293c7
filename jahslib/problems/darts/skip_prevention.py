"""Measures against DARTS's collapse to skip connections: a fading skip path, early stopping.

Beside each node's mixed operation runs a surrogate `Identity` path, which carries the gradient while the other
operations are not yet trained; as it fades, Identity has to earn its weight. Sources: DARTS- (Chu et al.,
ICLR 2021), whose paths are added to the mixed operation; the AutoML class project of study 05, which mixes the two
convexly; DARTS+ (Liang et al., 2019) for the two stopping criteria. ZeroLess-DARTS's criterion was not published in
full; the class project's count of skips is of the same kind.
"""

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from jahslib.models.darts.cell import OPERATIONS
from jahslib.training.schedules import cosine

# Fraction of the surrogate skip in epoch e (from 0) of E, relative to where it starts. All but the class project's are
# from DARTS-, with its names (its code; the last linear epoch is not quite 0).
SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "class_project": lambda e, epochs: 1 - (e + 1) / epochs,
    "linear": lambda e, epochs: (epochs - e) / epochs,
    "cosine": cosine,
    "slow_cosine": lambda e, epochs: math.cos(math.pi * e / (2 * epochs)),
    "none": lambda e, epochs: 0.0,
}


def surrogate_fraction(epoch: int, epochs: int, schedule: str = "class_project", start: float = 0.5) -> float:
    """Compute the surrogate's weight in `epoch` (from 0) of `epochs`.

    By default the class project's s(e) = (1 - (e + 1) / E) / 2: just under 0.5 in the first epoch, 0 in the last.
    DARTS- starts at 1.
    """
    return start * SCHEDULES[schedule](epoch, epochs)


def count_skips(probabilities: Tensor, threshold: float) -> int:
    """Count the nodes whose most probable operation is Identity, above `threshold` (`6 x 5`)."""
    best = probabilities.max(dim=1)
    return int(((best.indices == OPERATIONS.index("identity")) & (best.values > threshold)).sum())


def ranking_is_stable(alphas: Sequence[Tensor], epochs: int) -> bool:
    """Tell whether every node's ranking of the trainable operations is unchanged for `epochs`.

    These are conv, resnet and bottleneck; the criterion of DARTS+, with 10 epochs there. `alphas`: `6 x 5` after each
    epoch so far.
    """
    learners = [OPERATIONS.index(name) for name in ("conv", "resnet", "bottleneck")]
    rankings = [a[:, learners].argsort(dim=1).tolist() for a in alphas[-epochs - 1 :]]
    return len(rankings) > epochs and all(ranking == rankings[0] for ranking in rankings)
