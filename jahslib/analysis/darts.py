"""Tables of DARTS searches for cells, and of networks trained alike of what they found; computed from trial logs."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from jahslib.analysis.tables import mean_of
from jahslib.analysis.text import pm
from jahslib.core.trials import Trial
from jahslib.models.darts.cell import KERNELS, OPERATIONS
from jahslib.models.darts.stacking import most_probable_cell, to_text
from jahslib.problems.darts.ablation import Arm
from jahslib.problems.darts.cell_search import CellsFound

Cells = Sequence[CellsFound]

PARAMETER_FREE = ("identity", "zero")  # the operations that a search may collapse to
SOURCES = {"sampled": "sampled", "argmax": "argmax", "uniform": "uniform, no search"}  # see `ablation.Arm`


def darts_table(searches: Cells) -> pd.DataFrame:
    """One row a search: epochs, why it ended, seconds, Identity's share in the end, and the most probable cell."""
    return pd.DataFrame(
        {
            "seed": s.seed,
            "epochs": round(s.trial.epochs),
            "ended": "runtime" if s.trial.status == "cut" else s.trial.outputs["stopped"] or "all epochs",
            "seconds": round(s.seconds, 1),
            "skip_share": s.trial.metrics.get("skip_share"),
            "cell": to_text(most_probable_cell(s.probabilities())),
        }
        for s in searches
    )


def arch_weights(searches: Cells) -> pd.DataFrame:
    """One row an epoch, node and operation of every search: its share softmax(alpha)."""
    rows = []
    for s in searches:
        for epoch, alphas in enumerate(s.trial.outputs["alphas"], start=1):
            mixture = torch.tensor(alphas).softmax(1).tolist()
            for node, shares in zip(KERNELS, mixture, strict=True):
                for name, share in zip(OPERATIONS, shares, strict=True):
                    rows.append({"seed": s.seed, "epoch": epoch, "node": node, "operation": name, "share": share})
    return pd.DataFrame(rows, columns=["seed", "epoch", "node", "operation", "share"])


def operation_shares(searches: Cells) -> pd.DataFrame:
    """One row an epoch and operation of every search, whose `task` is the `method`: its share softmax(alpha), mean over
    the six nodes, and in how many of them it is the largest; beside them the surrogate's fraction and the training loss
    of that epoch."""
    rows = []
    for s in searches:
        for i, alphas in enumerate(s.trial.outputs["alphas"]):
            mixture = torch.tensor(alphas).softmax(1)
            shares, best = mixture.mean(0).tolist(), mixture.argmax(1)
            for number, name in enumerate(OPERATIONS):
                rows.append(
                    {
                        "method": s.task,
                        "seed": s.seed,
                        "epoch": i + 1,
                        "operation": name,
                        "share": shares[number],
                        "nodes": int((best == number).sum()),
                        "surrogate": s.trial.curve["surrogate"][i],
                        "train_loss": s.trial.curve["train_loss"][i],
                    }
                )
    return pd.DataFrame(rows)


def collapse_table(panels: Mapping[str, pd.DataFrame], labels: Mapping[str, str]) -> pd.DataFrame:
    """`operation_shares` by data set, a row a variant of DARTS, mean ± sd over seeds: the training loss of the first
    and the last epoch; of each operation without parameters its share after the last epoch and at its largest, and how
    many nodes prefer it in the end; identity's part of what is not zero's, among the operations that DARTS would derive
    from; and which operation has most of the architecture weights then.

    Args:
        labels: of the variants.
    """
    rows = []
    for data, shares in panels.items():
        for variant, label in labels.items():
            own = shares[shares.method == variant]
            first, last = (own[own.epoch == e] for e in (own.epoch.min(), own.epoch.max()))
            row = {
                "data": data,
                "prevention": label,
                "n": own.seed.nunique(),
                "epochs": int(own.epoch.max()),
                "loss_first": pm(first.groupby("seed").train_loss.first(), 2),
                "loss_last": pm(last.groupby("seed").train_loss.first(), 2),
            }
            for name in PARAMETER_FREE:
                of_name, in_the_end = own[own.operation == name], last[last.operation == name]
                row |= {
                    f"{name}_last": pm(in_the_end.share),
                    f"{name}_largest": pm(of_name.groupby("seed").share.max()),
                    f"{name}_nodes": pm(in_the_end.nodes, 1),
                }
            share = last.pivot(index="seed", columns="operation", values="share")
            row["identity_of_rest"] = pm(share.identity / (1 - share.zero))
            rows.append(row | {"leader": leader(own)})
    return pd.DataFrame(rows)


def leader(shares: pd.DataFrame) -> str:
    """The operation with most of the architecture weights after the last epoch, with its number of seeds where they
    differ: "zero", or "zero (2), conv (1)"."""
    last = shares[shares.epoch == shares.epoch.max()]
    most = last.loc[last.groupby("seed").share.idxmax()].operation.value_counts()
    return most.index[0] if len(most) == 1 else ", ".join(f"{name} ({n})" for name, n in most.items())


def effect(shares: pd.DataFrame) -> str:
    """What skip prevention does to identity's share after the last epoch: "less" or "more" than without, or "not told
    apart" where the mean difference is within the seeds' standard deviation of it, or there is one seed only."""
    last = shares[(shares.epoch == shares.epoch.max()) & (shares.operation == "identity")]
    share = last.pivot(index="seed", columns="method", values="share")
    difference = (share.prevented - share.plain).dropna()
    if len(difference) < 2 or abs(difference.mean()) <= difference.std():
        return "not told apart"
    return "less" if difference.mean() < 0 else "more"


def ablation_table(variants: Cells, probes: Mapping[tuple[Arm, int], Sequence[Trial]]) -> pd.DataFrame:
    """Every arm: networks trained alike of cells found differently; each value is first averaged within a seed.

    Args:
        variants: the searches of the arms, by `task`.
        probes: trials of the networks, by arm and seed.
    """
    searched = {(s.task, s.seed): s for s in variants}
    rows = []
    for arm in dict.fromkeys(arm for arm, _ in probes):
        own = {seed: trials for (a, seed), trials in probes.items() if a == arm}

        def means(metric: str, own: Mapping[int, Sequence[Trial]] = own) -> list[float]:
            return [mean_of(trials, metric) for trials in own.values()]

        ends = [arm.epochs(searched.get((arm.variant, seed))) for seed in own]
        rows.append(
            {
                "prevention": {"prevented": "on", "plain": "off"}.get(arm.variant, "–"),
                "stopping": "–" if arm.variant == "none" else "on" if arm.stopped else "off",
                "cells": SOURCES[arm.source],
                "n": len(own),
                "networks": sum(map(len, own.values())),
                "darts_epochs": pm(ends if arm.variant != "none" else [0], 1),
                "test_acc": pm(means("top1")),
                "test_f1": pm(means("macro_f1")),
                "val_acc": pm(means("val_top1")),
                "params_thousands": pm([params / 1000 for params in means("params")], 1),
            }
        )
    return pd.DataFrame(rows)
