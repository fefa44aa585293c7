"""Study 06: tables and the numbers behind its figures, all computed from trial logs."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from jahslib.analysis.statistics import paired_bootstrap
from jahslib.analysis.tables import choosing, course, mean_epochs, mean_of, model_share, pm, ranked
from jahslib.core.trials import History, Trial
from jahslib.experiments.final_training import read_scalars
from jahslib.models import image_nets
from jahslib.problems.tuned_network import DEFAULT, JOINT
from jahslib.reporting.report import Report
from jahslib.studies.ax_bo import EXTRAS, METHODS, PROFILES, Key, Options, Search, key
from jahslib.studies.ax_bo_final import FinalTraining
from jahslib.studies.claims import check_finals, check_searches, record_left_out

Finals = Mapping[Key, Sequence[Trial]]

ORIGINAL_PARAMETERS = {100: 20_713_380, 10: 20_344_650}  # of its AlexNet for 3 channels, by classes


def parameters_table() -> pd.DataFrame:
    """Every network's size for 32 x 32 images of 3 channels, 100 and 10 classes, and MNIST's."""
    shapes = {
        "classes_100": {"channels": 3, "classes": 100, "size": 32},
        "classes_10": {"channels": 3, "classes": 10, "size": 32},
        "mnist": {"channels": 1, "classes": 10, "size": 28},
    }
    counts = {
        name: {k: image_nets.count_parameters(name, **s) for k, s in shapes.items()} for name in image_nets.NETWORKS
    }
    return pd.DataFrame([{"network": name, **own} for name, own in counts.items()])


def space_table(searches: Sequence[Search]) -> pd.DataFrame:
    """The space of the comparison with the original's default, and Ax's best incumbent on each data set."""
    ax = [s for s in searches if s.method == "ax"] or list(searches)
    rows = []
    for data in dict.fromkeys(s.problem.data for s in ax):
        best = min((s for s in ax if s.problem.data == data), key=lambda s: s.problem.rank(s.incumbent))
        for parameter in best.problem.space.values():
            if parameter.name not in DEFAULT:
                continue
            scale = ", log" if parameter.log else ""
            rows.append(
                {
                    "data": data,
                    "hyperparameter": parameter.name,
                    "range": f"[{shown(parameter.lower)}, {shown(parameter.upper)}]{scale}",
                    "original_default": shown(DEFAULT[parameter.name]),
                    "found": shown(best.incumbent.configuration[parameter.name]),
                }
            )
    return pd.DataFrame(rows)


def shown(value: float) -> str:
    """Three significant digits, small values as 5.07·10⁻⁵."""
    if value == 0 or abs(value) >= 1e-3:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}·10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def methods_table(searches: Sequence[Search], finals: Finals) -> pd.DataFrame:
    """The comparison: each cell is over the seeds of a method (test values first averaged within a seed)."""
    rows = []
    for data, method in dict.fromkeys((s.problem.data, s.method) for s in searches):
        own = [s for s in searches if (s.problem.data, s.method) == (data, method)]
        waits = [choosing(s.history) for s in own]
        training = [sum(t.seconds for t in s.history) for s in own]
        rows.append(
            {
                "data": data,
                "method": METHODS[method],
                "n": len(own),
                "val_top1": pm([s.incumbent.metrics["top1"] for s in own]),
                "test_top1": pm([mean_of(finals[key(s)], "top1") for s in own]),
                "configurations": pm([_configurations(s.history) for s in own], 0),
                "from_model": model_share(own),
                "diverged": pm([sum(diverged(t, s.problem.classes) for t in s.history) for s in own], 1),
                "epochs_search": mean_epochs(own),
                "seconds_training": round(float(np.mean(training)), 1),
                "seconds_choosing": round(float(np.mean([sum(w) for w in waits])), 2),
                "seconds_a_proposal": round(float(np.mean([np.mean(w) if w else 0.0 for w in waits])), 3),
                "epochs_final": sum(round(t.epochs) for s in own for t in finals[key(s)]),
            }
        )
    return pd.DataFrame(rows)


def diverged(trial: Trial, classes: int) -> bool:
    """Whether training failed, or ended with a loss clearly above that of guessing, ln(classes)."""
    losses = trial.curve.get("train_loss")
    return trial.status == "failed" or bool(losses and losses[-1] > 1.05 * np.log(classes))


def _configurations(history: History) -> int:
    return len({str(t.configuration) for t in history})


def bootstrap_table(searches: Sequence[Search], finals: Finals) -> pd.DataFrame:
    """Ax against each other method: difference of test accuracies on the same seeds, with a 95 % interval."""
    rows = []
    for data, other in dict.fromkeys((s.problem.data, s.method) for s in searches if s.method != "ax"):
        seeds = [s.seed for s in searches if (s.problem.data, s.method) == (data, other)]
        seeds = [seed for seed in seeds if ("ax", data, seed) in finals]
        if not seeds:
            continue
        pair = [[mean_of(finals[m, data, seed], "top1") for seed in seeds] for m in ("ax", other)]
        found = paired_bootstrap(*pair, np.random.default_rng(0))
        rows.append(
            {
                "data": data,
                "pair": f"Ax − {METHODS[other]}",
                "n": found.n,
                "difference": round(found.mean, 4),
                "low": round(found.low, 4),
                "high": round(found.high, 4),
                "ax_ahead": round(1 - found.not_above, 3),
            }
        )
    return pd.DataFrame(rows, columns=["data", "pair", "n", "difference", "low", "high", "ax_ahead"])


def curves(searches: Sequence[Search]) -> pd.DataFrame:
    """One row a trial from the first that finished: the incumbent's top1, and trials, epochs and minutes so far."""
    return pd.DataFrame(
        {
            "data": s.problem.data,
            "method": s.method,
            "seed": s.seed,
            "trials": at.trials,
            "epochs": at.epochs,
            "minutes": at.minutes,
            "top1": at.incumbent.metrics["top1"],
        }
        for s in searches
        for at in course(s)
    )


def cost_table(searches: Sequence[Search]) -> pd.DataFrame:
    """Seconds of training and choosing of every search."""
    return pd.DataFrame(
        {
            "data": s.problem.data,
            "method": s.method,
            "seed": s.seed,
            "training": sum(t.seconds for t in s.history),
            "choosing": sum(choosing(s.history)),
        }
        for s in searches
    )


def trials_table(searches: Sequence[Search]) -> pd.DataFrame:
    """Every evaluation at the full number of epochs; a failed one has no top1."""
    return pd.DataFrame(
        {
            "data": s.problem.data,
            "method": s.method,
            "seed": s.seed,
            "trial": t.id,
            **{name: t.configuration.get(name) for name in (*DEFAULT, *JOINT)},
            "top1": t.metrics.get("top1") if t.status == "ok" else None,
        }
        for s in searches
        for t in s.history
        if t.final
    )


def stopping_table(searches: Sequence[Search]) -> pd.DataFrame:
    """What early stopping saved in each search: configurations, those stopped, epochs spent and without stopping."""
    rows = []
    for s in searches:
        if s.method != "ax_stop":
            continue
        continued = {t.parent for t in s.history}
        ends = [t for t in s.history if t.id not in continued]
        stopped = [t for t in ends if t.status == "ok" and not t.final]
        whole = len(ends) * s.problem.max_epochs
        rows.append(
            {
                "data": s.problem.data,
                "seed": s.seed,
                "configurations": len(ends),
                "stopped": len(stopped),
                "epochs": sum(t.epochs for t in s.history),
                "epochs_unstopped": whole,
                "val_top1": s.incumbent.metrics["top1"],
            }
        )
    return pd.DataFrame(rows)


def snapshots_table(final: FinalTraining) -> pd.DataFrame:
    """Every snapshot of the final training: its losses on the way, and test metrics of it loaded by id and epoch."""
    scalars = {row["epoch"]: row for row in read_scalars(final.place)}
    return pd.DataFrame(
        {
            "id": final.place.name,
            "epoch": epoch,
            **{name: value for name, value in scalars.get(epoch, {}).items() if name != "epoch"},
            "test_top1": measured["top1"],
            "test_top5": measured["top5"],
        }
        for epoch, measured in final.tested.items()
    )


def check_claims(o: Options, searches: Sequence[Search], finals: Finals) -> None:
    """What the study says of its own run, asserted."""
    for classes, count in ORIGINAL_PARAMETERS.items():
        assert image_nets.count_parameters("alexnet", channels=3, classes=classes, size=32) == count
    check_searches(searches, o.trials * o.max_epochs)
    for s in searches:
        if s.method not in EXTRAS:
            assert len(s.history) <= o.trials, f"{s.method} on {s.problem.data}, seed {s.seed}: {len(s.history)} trials"
    check_finals(finals, o.final_seeds)


def record_values(record: Report, o: Options, searches: Sequence[Search], finals: Finals, final: FinalTraining) -> None:
    """The numbers that the paper's text quotes, and each search's winner as a file."""
    record_left_out(record, o, PROFILES, *([] if o.extra_seeds else ["extra_seeds"]))
    add = record.value
    add("data", ", ".join(o.data), "Data sets")
    add("profile_note", o.note, "What this profile changes against the original")
    add("network", o.network, "Network")
    add("trials", o.trials, "Trials of each search")
    add("max_epochs", o.max_epochs, "Epochs of each trial")
    add("n_seeds", len(o.seeds), "Seeds of the five compared methods")
    add("n_extra_seeds", min(o.extra_seeds, len(o.seeds)), "Seeds of the two extra methods")
    add("folds", o.folds, "Parts of the training split, of which one is held back")
    add("trials_total", sum(len(s.history) for s in searches), "Trials of all searches")
    for classes, count in ORIGINAL_PARAMETERS.items():
        add(f"alexnet_{classes}", count, f"Parameters of the AlexNet for {classes} classes", text=f"{count:,}")
    table = methods_table(searches, finals)
    first = table[table.data == o.data[0]]
    for method in dict.fromkeys(s.method for s in searches):
        row = first[first.method == METHODS[method]].iloc[0]
        add(f"{method}_val_top1", row.val_top1, f"{METHODS[method]}: validation accuracy of incumbents")
        add(f"{method}_test_top1", row.test_top1, f"{METHODS[method]}: test accuracy of incumbents")
        proposal = float(row.seconds_a_proposal)
        add(f"{method}_proposal", proposal, f"{METHODS[method]}: seconds a proposal", text=f"{proposal:.2g}")
    own = [s for s in searches if s.problem.data == o.data[0] and s.method not in EXTRAS]
    add("ordering", ordering(own, finals), "Methods by the mean test accuracy of their incumbents")
    stopping = stopping_table(searches)
    if len(stopping):
        share = float(stopping.stopped.sum() / stopping.configurations.sum())
        add("stopped_share", share, "Share of configurations that Ax stopped early", text=f"{100 * share:.0f} %")
    add("snapshot_test_top1", final.tested[max(final.tested)]["top1"], "Test accuracy of the last snapshot")
    for s in searches:
        name = f"opt_cfg_{s.method}_{s.problem.data}_seed{s.seed}"
        record.configuration(name, s.incumbent.configuration, f"{METHODS[s.method]}, {s.problem.data}, seed {s.seed}")


def ordering(searches: Sequence[Search], finals: Finals) -> str:
    """Methods by the mean test accuracy of their incumbents, the best first."""
    methods = dict.fromkeys(s.method for s in searches)
    mean = {m: float(np.mean([mean_of(finals[key(s)], "top1") for s in searches if s.method == m])) for m in methods}
    return ranked(mean, METHODS)
