"""Tables of DARTS searches for cells, and of networks and stacks of what they found; computed from trial logs."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from jahslib.analysis.methods import summary
from jahslib.analysis.tables import mean_of
from jahslib.core.trials import Trial, as_proposed
from jahslib.extras import extra
from jahslib.models.darts.cell import KERNELS, OPERATIONS
from jahslib.models.darts.stacking import from_text, most_probable_cell, to_text
from jahslib.problems.darts.ablation import Arm
from jahslib.problems.darts.cell_search import CellsFound
from jahslib.problems.darts.stacked_cells import StackedCells
from jahslib.search.runs import AnySearch

with extra("training"):
    import torch

Cells = Sequence[CellsFound]
Stacks = Sequence[AnySearch[StackedCells]]

PARAMETER_FREE = ("identity", "zero")  # the operations that a search may collapse to
MEASURE_NAMES = {"top1": "accuracy", "macro_f1": "macro F1"}
SOURCES = {"sampled": "sampled", "argmax": "argmax", "uniform": "uniform, no search"}  # see `ablation.Arm`


def darts_table(searches: Cells) -> pd.DataFrame:
    """Describe DARTS searches, one row each: epochs, why it ended, seconds, Identity's last share, likeliest cell."""
    return pd.DataFrame(
        {
            "seed": s.seed,
            "epochs": round(s.trial.epochs),
            "ended": "runtime" if s.trial.status == "cut" else s.trial.outputs["stopped"] or "all epochs",
            "seconds": s.seconds,
            "skip_share": s.trial.metrics.get("skip_share"),
            "cell": to_text(most_probable_cell(s.probabilities())),
        }
        for s in searches
    )


def arch_weights(searches: Cells) -> pd.DataFrame:
    """List the architecture weights of every search: `trial_weights` with the seed."""
    tables = [pd.DataFrame(), *(trial_weights(s.trial).assign(seed=s.seed) for s in searches)]
    return pd.concat(tables, ignore_index=True).reindex(columns=["seed", "epoch", "node", "operation", "share"])


def trial_weights(trial: Trial) -> pd.DataFrame:
    """List the architecture weights softmax(alpha) of a DARTS search: one row per epoch, node and operation."""
    rows = []
    for epoch, alphas in enumerate(trial.outputs["alphas"], start=1):
        mixture = torch.tensor(alphas).softmax(1).tolist()
        for node, shares in zip(KERNELS, mixture, strict=True):
            for name, share in zip(OPERATIONS, shares, strict=True):
                rows.append({"epoch": epoch, "node": node, "operation": name, "share": share})
    return pd.DataFrame(rows)


def operation_shares(searches: Cells) -> pd.DataFrame:
    """Average the architecture weights over the six nodes: one row per epoch and operation of every search (`method`).

    `share` is the mean of softmax(alpha), `nodes` counts the nodes in which the operation has the largest weight;
    `surrogate` (the fraction that it contributes) and `train_loss` are the epoch's.
    """
    rows = []
    for s in searches:
        for i, alphas in enumerate(s.trial.outputs["alphas"]):
            mixture = torch.tensor(alphas).softmax(1)
            shares, best = mixture.mean(0).tolist(), mixture.argmax(1)
            for number, name in enumerate(OPERATIONS):
                row = {"method": s.task, "seed": s.seed, "epoch": i + 1, "operation": name}
                row |= {"share": shares[number], "nodes": int((best == number).sum())}
                rows.append(row | {curve: s.trial.curve[curve][i] for curve in ("surrogate", "train_loss")})
    return pd.DataFrame(rows)


def ends(shares: pd.DataFrame) -> pd.DataFrame:
    """Summarise how each search of `operation_shares` ends: one row per search.

    Holds the first and last epoch's training loss; of each operation without parameters its last share, its largest,
    and the number of nodes that prefer it in the end; identity's part of what is not zero's, among the operations that
    DARTS would derive from; and the `leader`, the operation with the largest last share.
    """
    rows = []
    for (method, seed), own in shares.groupby(["method", "seed"], sort=False):  # type: ignore[misc]
        first, last = (own[own.epoch == e].set_index("operation") for e in (own.epoch.min(), own.epoch.max()))
        row = {"prevention": method, "seed": seed, "epochs": int(own.epoch.max())}
        row |= {"loss_first": first.train_loss.iloc[0], "loss_last": last.train_loss.iloc[0]}
        for name in PARAMETER_FREE:
            largest = own[own.operation == name].share.max()
            row |= {f"{name}_last": last.share[name], f"{name}_largest": largest, f"{name}_nodes": last.nodes[name]}
        row["identity_of_rest"] = last.share["identity"] / (1 - last.share["zero"])
        rows.append(row | {"leader": last.share.idxmax()})
    return pd.DataFrame(rows)


def collapse_table(found: pd.DataFrame) -> pd.DataFrame:
    """Average `ends` over seeds, one row per data set and variant, with the `leader` of most seeds and their number."""
    by = ["data", "prevention"]
    table = summary(found.drop(columns="leader"), by)
    most = found.groupby(by, sort=False).leader
    return table.assign(
        leader=[own.mode()[0] for _, own in most], leader_seeds=[own.eq(own.mode()[0]).sum() for _, own in most]
    )


def ablation_rows(variants: Cells, probes: Mapping[tuple[Arm, int], Sequence[Trial]]) -> pd.DataFrame:
    """Describe networks of cells found differently, one row per arm and seed, averaged over its networks.

    Args:
        variants: the searches of the arms, by `task`.
        probes: trials of the networks, by arm and seed.
    """
    searched = {(s.task, s.seed): s for s in variants}
    return pd.DataFrame(
        {
            "prevention": {"prevented": "on", "plain": "off"}.get(arm.variant, "–"),
            "stopping": "–" if arm.variant == "none" else "on" if arm.stopped else "off",
            "cells": SOURCES[arm.source],
            "seed": seed,
            "networks": len(trials),
            "darts_epochs": arm.epochs(searched.get((arm.variant, seed))),
            "test_acc": mean_of(trials, "top1"),
            "test_f1": mean_of(trials, "macro_f1"),
            "val_acc": mean_of(trials, "val_top1"),
            "params_thousands": mean_of(trials, "params") / 1000,
            "mflops": mean_of(trials, "mflops"),
        }
        for (arm, seed), trials in probes.items()
    )


# Stacks of cells ------------------------------------------------------------------------------------------------------


def progress(searches: Stacks) -> pd.DataFrame:
    """List trials for the class project's bohb_progress, one row each; an `id` is one configuration of one seed."""
    rows = []
    for s in searches:
        numbers: dict[str, int] = {}
        metric = s.problem.objective.metric
        for t in as_proposed(s.history):
            if t.status == "ok":
                number = numbers.setdefault(str(t.configuration), len(numbers)) + 1000 * s.seed
                row = {"method": s.method, "seed": s.seed, "id": number}
                rows.append(row | {"epochs": t.fidelity, metric: t.metrics[metric]})
    return pd.DataFrame(rows)


def scores(searches: Stacks, baseline: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """List scores for the class project's plots beside its `baseline`'s: run, val_acc, val_f1, test_acc, test_f1."""
    rows = []
    for s in searches:
        for metric, panel in MEASURE_NAMES.items():
            for split, score in (("val", s.incumbent.metrics[metric]), ("test", mean_of(s.tests, metric))):
                label = f"{split}, ours on {s.problem.data}"
                rows.append({"panel": panel, "type": label, "seed": s.seed, "score": score})
    for row in baseline:
        for metric, panel in MEASURE_NAMES.items():
            for split in ("val", "test"):
                score = row[f"{split}_{'acc' if metric == 'top1' else 'f1'}"]
                label = f"{split}, reported on retinamnist"
                rows.append({"panel": panel, "type": label, "seed": row["run"], "score": score})
    return pd.DataFrame(rows)


def found_table(searches: Stacks) -> pd.DataFrame:
    """Describe the incumbents' stacks, one row per cell."""
    rows = []
    for s in searches:
        c = s.incumbent.configuration
        for i in range(1, c["n_cells"] + 1):
            nodes = dict(zip((f"node_{n}" for n in KERNELS), from_text(c[f"cell_{i}"]), strict=True))
            pooled = c.get(f"use_max_pooling_{i}", False)
            row = {"method": s.label, "seed": s.seed, "cell": i, "channels": c[f"out_channels_{i}"]}
            rows.append(row | {"pooled": pooled, **nodes})
    return pd.DataFrame(rows)
