"""Tables as notebooks show them; files and records hold the numbers."""

import math

from jahslib.extras import extra

with extra("notebooks"):
    import pandas as pd


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Join the columns `NAME_mean` and `NAME_sd` to one of text, "mean ± sd", or the mean alone where there is no sd.

    A column's numbers have the decimals that give its largest mean four significant digits, at most three.
    """
    shown = {}
    for column in table:
        name = str(column)
        mean = name.removesuffix("_mean")
        if name == mean + "_mean":
            sds = table.get(f"{mean}_sd", pd.Series(math.nan, table.index))
            largest = float(table[column].abs().max())
            digits = max(0, min(3, 3 - math.floor(math.log10(largest)))) if largest > 0 else 3
            shown[mean] = [_joined(m, sd, digits) for m, sd in zip(table[column], sds, strict=True)]
        elif f"{name.removesuffix('_sd')}_mean" not in table:
            shown[name] = table[column]
    return pd.DataFrame(shown, index=table.index)


def _joined(mean: float, sd: float, digits: int) -> str:
    if math.isnan(mean):
        return "–"
    return f"{mean:.{digits}f}" if math.isnan(sd) else f"{mean:.{digits}f} ± {sd:.{digits}f}"
