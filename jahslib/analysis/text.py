"""Numbers as tables and text show them."""

from collections.abc import Sequence

import numpy as np


def pm(values: Sequence[float], digits: int = 3, *, population: bool = False) -> str:
    """mean ± standard deviation, of the sample or the population; the mean alone for one value."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {np.std(values, ddof=0 if population else 1):.{digits}f}"
