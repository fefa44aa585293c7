"""Learning-rate schedules: factors of the initial rate, from past mean training losses.

As the losses are part of a checkpoint, a continued training follows its schedule exactly. The kinds and their numbers
are those of the original of study 06, which never used them: there a schedule worked only while validation was on, and
"plateau" not even then. Here none of them uses validation data.
"""

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[Sequence[float]], float]

PLATEAU_FACTOR, PLATEAU_PATIENCE, PLATEAU_THRESHOLD = 0.1, 10, 1e-4  # torch's ReduceLROnPlateau by default


def constant(losses: Sequence[float]) -> float:
    """Keep the initial rate."""
    return 1.0


def step(losses: Sequence[float]) -> float:
    """Divide by 10 after every 60 epochs."""
    return 0.1 ** (len(losses) // 60)


def step_restart(losses: Sequence[float]) -> float:
    """Divide by 10 after 4 epochs, and restart at the initial rate after 8."""
    return 0.1 ** (len(losses) % 8 // 4)


def multi(losses: Sequence[float]) -> float:
    """Divide by 10 once, after 10 epochs."""
    return 0.1 if len(losses) >= 10 else 1.0


def stairs(losses: Sequence[float]) -> float:
    """Step through 1, .5, .1, .01 from epochs 0, 5, 10, 15 on: the original's "lambda"."""
    return (1.0, 0.5, 0.1, 0.01)[min(len(losses) // 5, 3)]


def plateau(losses: Sequence[float]) -> float:
    """Divide by 10 when the training loss has stalled for more than 10 epochs.

    Stalled: not fallen by .01 % below the best.
    """
    factor, best, waited = 1.0, float("inf"), 0
    for loss in losses:
        if loss < best * (1 - PLATEAU_THRESHOLD):
            best, waited = loss, 0
        else:
            waited += 1
        if waited > PLATEAU_PATIENCE:
            factor, waited = factor * PLATEAU_FACTOR, 0
    return factor


def cosine(epoch: int, epochs: int) -> float:
    """Anneal from 1 to 0 by half a cosine over `epochs`; 0 from then on.

    Loshchilov and Hutter, ICLR 2017; per epoch done. Not one of `SCHEDULES`, as it needs the number of epochs.
    """
    return (1 + math.cos(math.pi * min(epoch / epochs, 1))) / 2


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "step": step,
    "step_restart": step_restart,
    "multi": multi,
    "lambda": stairs,
    "plateau": plateau,
}
