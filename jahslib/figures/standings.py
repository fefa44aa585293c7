"""Which optimizer for what, in one figure."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from jahslib.figures.panels import WIDTH


def standings_chart(table: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """Draw methods (rows, the best on average first, by their names in `labels`) by families of tasks (columns).

    A cell's text is the mean score, its colour the place by mean rank (dark is first). A star is at the leader and at
    each method that is not told from it; none where a family has too few blocks to tell. `table` has the columns
    family, method, score_mean, rank_mean, n, verdict.
    """
    ranks = table.pivot(index="method", columns="family", values="rank_mean")
    places = (ranks.rank(axis=0) - 1) / (ranks.notna().sum() - 1).clip(lower=1)
    order = places.mean(axis=1).sort_values(kind="stable").index
    families = list(dict.fromkeys(table.family))
    places = places.loc[order, families]
    scores, verdicts = (table.pivot(index="method", columns="family", values=c) for c in ("score_mean", "verdict"))
    unsure = set(table.family[table.verdict == "cannot tell"])
    words = pd.DataFrame("", index=order, columns=families)
    for method in order:
        for family in families:
            if np.isfinite(places.loc[method, family]):
                starred = verdicts.loc[method, family] in ("leads", "not told apart") and family not in unsure
                star = " *" if starred else ""
                words.loc[method, family] = f"{scores.loc[method, family]:.3f}{star}"
    figure, axis = plt.subplots(figsize=(WIDTH, 0.24 * len(order) + 0.9))
    sns.heatmap(places, annot=words, fmt="", cmap="Blues_r", vmin=-0.15, vmax=1.6, linewidths=1, cbar=False, ax=axis)
    blocks = table.groupby("family").n.max()
    axis.set_xticklabels([f"{family.replace('_', chr(10))}\n(n = {blocks[family]})" for family in families], rotation=0)
    axis.set_yticklabels([labels[m] for m in order], rotation=0)
    axis.set(xlabel="", ylabel="")
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    figure.tight_layout()
    return figure
