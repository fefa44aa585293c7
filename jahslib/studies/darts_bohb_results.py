"""Study 05: tables and the numbers behind its figures, all computed from trial logs."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from jahslib.analysis.reported import load
from jahslib.analysis.tables import course, mean_epochs, model_share, pm, ranked
from jahslib.core.trials import Trial
from jahslib.data.registry import load as load_data
from jahslib.models.darts.cell import KERNELS, OPERATIONS
from jahslib.models.darts.stacking import from_text, most_probable_cell, to_text
from jahslib.problems.darts.cell_search import probabilities
from jahslib.problems.darts.skip_prevention import surrogate_fraction
from jahslib.problems.darts.stacked_cells import MEASURES
from jahslib.reporting.report import Report
from jahslib.studies.claims import check_finals, check_searches, record_left_out
from jahslib.studies.darts_bohb import Arm, Search, stopped_at
from jahslib.studies.darts_bohb_options import METHODS, NOTEBOOK, PROFILES, SOURCES, VARIANTS, Options, settings

Cells = Mapping[int, Trial]
Variants = Mapping[tuple[str, int], Trial]
Finals = Mapping[tuple[str, int], Sequence[Trial]]
Probes = Mapping[tuple[Arm, int], Sequence[Trial]]

MEASURE_NAMES = {"top1": "accuracy", "macro_f1": "macro F1"}


# DARTS --------------------------------------------------------------------------------------------------------------


def arch_weights(cells: Mapping[int, Trial]) -> pd.DataFrame:
    """One row an epoch, node and operation of every search: its share softmax(alpha)."""
    rows = []
    for seed, trial in cells.items():
        for epoch, alphas in enumerate(trial.outputs["alphas"], start=1):
            mixture = torch.tensor(alphas).softmax(1).tolist()
            for node, shares in zip(KERNELS, mixture, strict=True):
                for name, share in zip(OPERATIONS, shares, strict=True):
                    rows.append({"seed": seed, "epoch": epoch, "node": node, "operation": name, "share": share})
    return pd.DataFrame(rows, columns=["seed", "epoch", "node", "operation", "share"])


# The operations without parameters: what a search may collapse to.
PARAMETER_FREE = ("identity", "zero")


def operation_shares(variants: Variants) -> pd.DataFrame:
    """One row an epoch and operation of every search: its share softmax(alpha), mean over the six nodes, and in how
    many of them it is the largest; beside them the surrogate's fraction and the training loss of that epoch."""
    rows = []
    for (variant, seed), trial in variants.items():
        for i, alphas in enumerate(trial.outputs["alphas"]):
            mixture = torch.tensor(alphas).softmax(1)
            shares, best = mixture.mean(0).tolist(), mixture.argmax(1)
            for number, name in enumerate(OPERATIONS):
                rows.append(
                    {
                        "method": variant,
                        "seed": seed,
                        "epoch": i + 1,
                        "operation": name,
                        "share": shares[number],
                        "nodes": int((best == number).sum()),
                        "surrogate": trial.curve["surrogate"][i],
                        "train_loss": trial.curve["train_loss"][i],
                    }
                )
    return pd.DataFrame(rows)


def collapse_table(panels: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """`operation_shares` by data set, a row a variant of DARTS, mean ± sd over seeds: the training loss of the first
    and the last epoch; of each operation without parameters its share after the last epoch and at its largest, and how
    many nodes prefer it in the end; identity's part of what is not zero's, among the operations that DARTS would derive
    from; and which operation has most of the architecture weights then."""
    rows = []
    for data, shares in panels.items():
        for variant, label in VARIANTS.items():
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


def darts_table(cells: Cells) -> pd.DataFrame:
    """The pipeline's searches: epochs, why they ended, seconds, losses of the last epoch and the most probable cell."""
    return pd.DataFrame(
        {
            "seed": seed,
            "epochs": round(t.epochs),
            "ended": "runtime" if t.status == "cut" else t.outputs["stopped"] or "all epochs",
            "seconds": round(t.outputs["seconds"], 1),
            "skip_share": t.metrics.get("skip_share"),
            "cell": to_text(most_probable_cell(probabilities(t.outputs))),
        }
        for seed, t in cells.items()
    )


# Stacks -------------------------------------------------------------------------------------------------------------


def methods_table(o: Options, searches: Sequence[Search], cells: Cells, finals: Finals) -> pd.DataFrame:
    """All methods, each over its seeds: the incumbent in the search and on test, and what finding it cost."""
    rows = []
    for method in dict.fromkeys(s.method for s in searches):
        own = [s for s in searches if s.method == method]
        tests = [_mean(finals[method, s.seed]) for s in own]
        darts = [0.0 if method == "uniform" else cells[s.seed].outputs["seconds"] / 60 for s in own]
        rows.append(
            {
                "method": METHODS[method],
                "n": len(own),
                "val_acc": pm([s.incumbent.metrics["top1"] for s in own]),
                "val_f1": pm([s.incumbent.metrics["macro_f1"] for s in own]),
                "test_acc": pm([t["top1"] for t in tests]),
                "test_f1": pm([t["macro_f1"] for t in tests]),
                "params_thousands": pm([s.incumbent.metrics["params"] / 1000 for s in own], 1),
                "trials": pm([sum(t.status != "rejected" for t in s.history) for s in own], 1),
                "from_model": model_share(own),
                "epochs_search": mean_epochs(own),
                "minutes_darts": round(float(np.mean(darts)), 2),
                "minutes_search": round(float(np.mean([s.history.trials[-1].elapsed / 60 for s in own])), 2),
                "epochs_final": sum(round(t.epochs) for s in own for t in finals[method, s.seed]),
            }
        )
    return pd.DataFrame(rows)


def _mean(trials: Sequence[Trial]) -> dict[str, float]:
    return {name: float(np.mean([t.metrics[name] for t in trials])) for name in trials[0].metrics}


def curves(o: Options, searches: Sequence[Search], cells: Cells) -> pd.DataFrame:
    """One row a full evaluation: the incumbent's measure, epochs so far, and minutes with those of DARTS."""
    rows = []
    metric = MEASURES[o.performance_measure]
    for s in searches:
        before = 0.0 if s.method == "uniform" else cells[s.seed].outputs["seconds"] / 60
        for at in course(s):
            rows.append(
                {
                    "data": s.problem.data,
                    "method": s.method,
                    "seed": s.seed,
                    "epochs": at.epochs,
                    "minutes": before + at.minutes,
                    metric: at.incumbent.metrics[metric],
                }
            )
    return pd.DataFrame(rows)


def progress(o: Options, searches: Sequence[Search]) -> pd.DataFrame:
    """The class project's bohb_progress: one row a trial, every configuration told apart over all seeds."""
    metric = MEASURES[o.performance_measure]
    rows = []
    for s in searches:
        numbers: dict[str, int] = {}
        for t in s.history:
            if t.status == "ok":
                number = numbers.setdefault(str(t.configuration), len(numbers))
                id = number + 1000 * s.seed
                rows.append(
                    {"method": s.method, "seed": s.seed, "id": id, "epochs": t.fidelity, metric: t.metrics[metric]}
                )
    return pd.DataFrame(rows)


def scores(o: Options, searches: Sequence[Search], finals: Finals) -> pd.DataFrame:
    """The class project's score plots: our pipeline's scores beside the reported ones of its baseline."""
    rows = []
    for s in (s for s in searches if s.method == o.methods[0]):
        for metric, panel in MEASURE_NAMES.items():
            best = s.incumbent.metrics[metric]
            rows.append({"panel": panel, "type": f"val, ours on {o.dataset}", "seed": s.seed, "score": best})
            tested = _mean(finals[s.method, s.seed])[metric]
            rows.append({"panel": panel, "type": f"test, ours on {o.dataset}", "seed": s.seed, "score": tested})
    for row in load(NOTEBOOK)["baseline"]:
        for metric, panel in MEASURE_NAMES.items():
            for split in ("val", "test"):
                label = f"{split}, reported on retinamnist"
                score = row[f"{split}_{'acc' if metric == 'top1' else 'f1'}"]
                rows.append({"panel": panel, "type": label, "seed": row["run"], "score": score})
    return pd.DataFrame(rows)


def reported_table(o: Options, searches: Sequence[Search], finals: Finals) -> pd.DataFrame:
    """Means of `scores`: the reported baseline's and ours."""
    tidy = scores(o, searches, finals)
    rows = []
    for source, data in (
        ("class project's baseline, six hours", "retinamnist"),
        (f"ours ({METHODS[o.methods[0]]})", o.dataset),
    ):
        row: dict[str, object] = {"source": source, "data": data}
        word = "reported" if source.startswith("class") else "ours"
        for split in ("val", "test"):
            for panel, name in (("accuracy", "acc"), ("macro F1", "f1")):
                own = tidy[(tidy.panel == panel) & (tidy.type == f"{split}, {word} on {data}")]
                row[f"{split}_{name}"] = pm(own.score)
        row["n"] = int(tidy[tidy.type == f"val, {word} on {data}"].seed.nunique())
        rows.append(row)
    return pd.DataFrame(rows)


def optimism_table(o: Options, searches: Sequence[Search], finals: Finals) -> pd.DataFrame:
    """What choosing by few validation images makes of a score: the incumbent's in the search, of the same
    configuration trained anew, and on test; mean ± sd over seeds, `drop` being the first less the second."""
    metric = MEASURES[o.performance_measure]
    rows = []
    for method in dict.fromkeys(s.method for s in searches):
        own = [s for s in searches if s.method == method]
        chosen = [s.incumbent.metrics[metric] for s in own]
        again = [_mean(finals[method, s.seed])[f"val_{metric}"] for s in own]
        rows.append(
            {
                "method": METHODS[method],
                "split": "a trial's own" if own[0].problem.resplit else "fixed",
                "n": len(own),
                "chosen": pm(chosen),
                "again": pm(again),
                "test": pm([_mean(finals[method, s.seed])[metric] for s in own]),
                "drop": pm([a - b for a, b in zip(chosen, again, strict=True)]),
            }
        )
    return pd.DataFrame(rows)


def found_table(searches: Sequence[Search]) -> pd.DataFrame:
    """The incumbents' stacks, one row a cell."""
    rows = []
    for s in searches:
        c = s.incumbent.configuration
        for i in range(1, c["n_cells"] + 1):
            nodes = dict(zip((f"node_{n}" for n in KERNELS), from_text(c[f"cell_{i}"]), strict=True))
            pooled = c.get(f"use_max_pooling_{i}", False)
            row = {"method": METHODS[s.method], "seed": s.seed, "cell": i, "channels": c[f"out_channels_{i}"]}
            rows.append(row | {"pooled": pooled, **nodes})
    return pd.DataFrame(rows)


# Ablation -----------------------------------------------------------------------------------------------------------


def ablation_table(o: Options, variants: Variants, probes: Probes) -> pd.DataFrame:
    """Every arm: networks trained alike of cells found differently; each value is first averaged within a seed."""
    rows = []
    for arm in dict.fromkeys(arm for arm, _ in probes):
        variant, stop, source = arm
        seeds = [seed for a, seed in probes if a == arm]
        means = [_mean(probes[arm, seed]) for seed in seeds]
        ends = [stopped_at(o, variants[variant, seed], stop) for seed in seeds] if variant != "none" else [0]
        rows.append(
            {
                "prevention": {"prevented": "on", "plain": "off"}.get(variant, "–"),
                "stopping": "–" if variant == "none" else "on" if stop else "off",
                "cells": SOURCES[source],
                "n": len(seeds),
                "networks": sum(len(probes[arm, seed]) for seed in seeds),
                "darts_epochs": pm(ends, 1),
                "test_acc": pm([m["top1"] for m in means]),
                "test_f1": pm([m["macro_f1"] for m in means]),
                "val_acc": pm([m["val_top1"] for m in means]),
                "params_thousands": pm([m["params"] / 1000 for m in means], 1),
            }
        )
    return pd.DataFrame(rows)


# Claims and records -------------------------------------------------------------------------------------------------


def check_claims(
    o: Options, cells: Cells, searches: Sequence[Search], finals: Finals, variants: Variants, collapse: Variants
) -> None:
    """What the study says of its own run, asserted."""
    chosen = settings(o)
    for seed, trial in cells.items():
        expected = [
            surrogate_fraction(e, chosen.epochs, chosen.surrogate_schedule, chosen.surrogate_start)
            for e in range(round(trial.epochs))
        ]
        assert trial.curve["surrogate"] == expected, f"DARTS with seed {seed}: its skip follows another schedule"
        p = probabilities(trial.outputs)
        assert 0.0841 < p.min() and p.max() < 0.4047, f"DARTS with seed {seed}: probabilities out of their bounds"
    for (variant, seed), trial in [*variants.items(), *collapse.items()]:
        if variant == "plain":
            assert not any(trial.curve["surrogate"]), f"DARTS without prevention, seed {seed}, had a surrogate"
        assert not trial.outputs["stopped"], f"DARTS {variant}, seed {seed}, was to run to its end"
    check_searches(searches, o.total_budget)
    for s in searches:
        name = f"{s.method} with seed {s.seed}"
        assert s.incumbent.fidelity == s.problem.max_epochs, f"{name}: its incumbent is not of the highest budget"
        if o.runtime is not None:
            before = 0.0 if s.method == "uniform" else cells[s.seed].outputs["seconds"]
            for t in s.history:
                began = before + t.elapsed - t.seconds
                assert not t.epochs or began <= o.runtime, f"{name}: trial {t.id} overran the runtime"
    check_finals(finals, o.final_seeds)


def record_values(
    record: Report,
    o: Options,
    cells: Cells,
    searches: Sequence[Search],
    finals: Finals,
    shares: Mapping[str, pd.DataFrame],
) -> None:
    """The numbers that the paper's text quotes, and each incumbent as a file. `shares`: `operation_shares`
    by data set."""
    record_left_out(record, o, PROFILES)
    add = record.value
    chosen = settings(o)
    add("data", o.dataset, "Data set")
    add("profile_note", o.note, "What this profile changes against the original")
    add("n_seeds", len(o.seeds), "Seeds")
    add("measure", MEASURE_NAMES[MEASURES[o.performance_measure]], "What the searches maximise")
    add("darts_epochs", chosen.epochs, "Epochs of the DARTS phase")
    add("min_budget", int(o.min_budget), "Epochs of the lowest budget, at least")
    add("max_budget", int(o.max_budget), "Epochs of the highest budget")
    add("total_budget", round(o.total_budget), "Epochs of a search after DARTS")
    add("trials_total", sum(len(s.history) for s in searches), "Trials of all searches")
    add("probes", o.probes, "Networks of each arm of the ablation and seed")
    add("probe_epochs", o.probe_epochs, "Epochs of the ablation's networks")
    minutes = float(np.mean([t.outputs["seconds"] for t in cells.values()])) / 60
    add("darts_minutes", minutes, "Minutes of a DARTS phase", text=f"{minutes:.1f}")
    stopped = sum(bool(t.outputs["stopped"]) for t in cells.values())
    add("darts_stopped", stopped, "DARTS phases that the stopping rule ended", text=f"{stopped} of {len(cells)}")
    table = methods_table(o, searches, cells, finals).set_index("method")
    for method in dict.fromkeys(s.method for s in searches):
        for column, about in (
            ("val_acc", "validation accuracy"),
            ("test_acc", "test accuracy"),
            ("test_f1", "test macro F1"),
        ):
            add(f"{method}_{column}", table.loc[METHODS[method], column], f"{METHODS[method]}: {about} of incumbents")
    labels = load_data(o.dataset, "test").labels
    majority = float(labels.bincount().max() / len(labels))
    add("majority_test_acc", majority, "Test accuracy of always naming the most frequent class", text=f"{majority:.3f}")
    add("ordering", _ordering(searches, finals), "Methods by the mean test accuracy of their incumbents")
    for where, table in shares.items():
        for variant, label in VARIANTS.items():
            own = table[table.method == variant]
            last = own[own.epoch == own.epoch.max()]
            for name in PARAMETER_FREE:
                text = pm(last[last.operation == name].share)
                add(f"{where}_{variant}_{name}", text, f"{name.capitalize()}'s share after the last epoch, {label}")
            add(f"{where}_{variant}_leader", leader(own), f"Operation with most weight after the last epoch, {label}")
        add(f"{where}_epochs", int(table.epoch.max()), "Epochs of these searches")
        add(f"{where}_effect", effect(table), "Identity's share with skip prevention, against without")
    for s in searches:
        name = f"opt_cfg_{s.method}_seed{s.seed}"
        record.configuration(name, s.incumbent.configuration, f"{METHODS[s.method]}, seed {s.seed}")


def _ordering(searches: Sequence[Search], finals: Finals) -> str:
    methods = dict.fromkeys(s.method for s in searches)
    mean = {m: float(np.mean([_mean(finals[m, s.seed])["top1"] for s in searches if s.method == m])) for m in methods}
    return ranked(mean, METHODS)
