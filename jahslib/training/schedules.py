"""Learning-rate schedules: factors of the initial rate, from past mean training losses.

As the losses are part of a checkpoint, a continued training follows its schedule exactly. The kinds and their numbers
are those of the original of study 06, which never used them: there a schedule worked only while validation was on, and
"plateau" not even then. Here none of them uses validation data.
"""

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[Sequence[float]], float]

PLATEAU_FACTOR, PLATEAU_PATIENCE, PLATEAU_THRESHOLD = 0.1, 10, 1e-4  # torch's ReduceLROnPlateau by default


def plateau(losses: Sequence[float]) -> float:
    """Divide by 10 when for more than 10 epochs the loss has not fallen by .01 % below the best."""
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
    """Anneal from 1 to 0 by half a cosine over `epochs`; 0 from then on (Loshchilov and Hutter, ICLR 2017)."""
    return (1 + math.cos(math.pi * min(epoch / epochs, 1))) / 2


SCHEDULES: dict[str, Schedule] = {
    "constant": lambda losses: 1.0,
    "step": lambda losses: 0.1 ** (len(losses) // 60),
    "step_restart": lambda losses: 0.1 ** (len(losses) % 8 // 4),  # from the initial rate after every 8 epochs
    "multi": lambda losses: 0.1 if len(losses) >= 10 else 1.0,
    "lambda": lambda losses: (1.0, 0.5, 0.1, 0.01)[min(len(losses) // 5, 3)],
    "plateau": plateau,
}

# Factors of the rate after so many of all epochs.
ANNEALINGS: dict[str, Callable[[int, int], float]] = {
    "cosine": cosine,
    "steps": lambda epoch, epochs: 0.1 ** ((epoch / epochs >= 0.5) + (epoch / epochs >= 0.75)),
}
