"""Study 07: tables and the numbers behind its figures, all computed from trial logs."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import confusion_matrix
from statsmodels.stats.contingency_tables import mcnemar

from jahslib.analysis.reported import load as load_reported
from jahslib.analysis.tables import feasible_share, mean_epochs, mean_of, model_share, pm
from jahslib.core.trials import Trial
from jahslib.optimizers import hyperband
from jahslib.reporting.report import Report
from jahslib.studies.claims import check_finals, check_searches, record_left_out
from jahslib.studies.constrained_ea import METHODS, NOTEBOOK, PROFILES, SCALED, Options, Search
from jahslib.training.metrics import batchwise_precision


def caps(batch_sizes: Sequence[int], classes: int = 17, per_class: int = 20) -> pd.DataFrame:
    """Batch-wise precision of a perfect classifier on class-sorted data: what the metric allows at each batch size."""
    labels = torch.arange(classes).repeat_interleave(per_class)
    values = [batchwise_precision(labels, labels, classes, b) for b in batch_sizes]
    return pd.DataFrame({"batch_size": batch_sizes, "highest_batchwise_precision": values})


def rung_plan(low: int, high: int, eta: int = 2) -> pd.DataFrame:
    """One row a bracket: members@epochs of each rung, and the epochs it costs when promoted trainings are continued."""
    rows = []
    for rungs in hyperband.plan(low, high, eta, rounding="published"):
        before = [0, *(r.fidelity for r in rungs[:-1])]
        cost = sum(r.members * (r.fidelity - b) for r, b in zip(rungs, before, strict=True))
        rows.append({"bracket": " → ".join(f"{r.members}@{r.fidelity}" for r in rungs), "epochs": cost})
    return pd.DataFrame(rows)


def trajectory(search: Search, pop_size: int) -> pd.DataFrame:
    """Columns of the original's {run}.csv (avg_acc, best_acc, avg_prec, best_prec, step, time in s) and epochs spent.

    One row a full evaluation, so that methods without steps compare; `step` counts them. The average is over the
    population, which in a (mu + lambda) strategy is the best mu of all full evaluations so far.
    """
    problem, rows, seen, spent = search.problem, [], [], 0.0
    for trial in search.history:
        spent += trial.epochs
        if not problem.full([trial]):
            continue
        seen.append(trial)
        population = sorted(seen, key=problem.rank)[:pop_size]
        accuracy = [t.metrics["top3"] for t in population]
        precision = [t.metrics[problem.precision] for t in population]
        rows.append(
            {
                "avg_acc": np.mean(accuracy),
                "best_acc": accuracy[0],
                "avg_prec": np.mean(precision),
                "best_prec": precision[0],
                "step": len(rows),
                "time": trial.elapsed,
                "epochs": spent,
            }
        )
    return pd.DataFrame(rows)


def trajectories(searches: Sequence[Search], pop_size: int) -> pd.DataFrame:
    """`trajectory` of every search, with its method and seed."""
    parts = [trajectory(s, pop_size).assign(method=s.method, seed=s.seed) for s in searches]
    return pd.concat(parts, ignore_index=True)


def trials_table(searches: Sequence[Search]) -> pd.DataFrame:
    """Every full evaluation of every search, with its feasibility."""
    rows = [
        {
            "method": s.method,
            "seed": s.seed,
            "top3": t.metrics["top3"],
            "precision": t.metrics[s.problem.precision],
            "macro_precision": t.metrics["macro_precision"],
            "params": int(t.metrics["params"]),
            "batch_size": t.configuration["batch_size"],
            "precision_met": t.metrics[s.problem.precision] >= s.problem.min_precision,
            "size_met": t.metrics["params"] <= s.problem.max_model_size,
            "feasible": s.feasible(t),
        }
        for s in searches
        for t in s.full
    ]
    return pd.DataFrame(rows)


def winners_table(searches: Sequence[Search]) -> pd.DataFrame:
    """One row a search: its incumbent."""
    return pd.DataFrame(
        {
            "method": METHODS[s.method],
            "seed": s.seed,
            "feasible": s.feasible(s.incumbent),
            "val_top3": s.incumbent.metrics["top3"],
            "val_precision": s.incumbent.metrics[s.problem.precision],
            "params": int(s.incumbent.metrics["params"]),
            "batch_size": s.incumbent.configuration["batch_size"],
            "full_evaluations": len(s.full),
            "epochs": sum(t.epochs for t in s.history),
            "minutes": s.history.trials[-1].elapsed / 60,
        }
        for s in searches
    )


def methods_table(
    searches: Sequence[Search],
    tests: Mapping[tuple[str, int], Sequence[Trial]],
    default: Sequence[Trial] = (),
) -> pd.DataFrame:
    """The main comparison: each cell is over the seeds of a method (test values first averaged within a seed).

    Args:
        tests: test trainings of each search's incumbent, by (method, seed).
        default: trainings of the default configuration, which no search chose.
    """
    reported = {r["method"]: r for r in load_reported(NOTEBOOK)["test"]}
    rows = []
    for method in dict.fromkeys(s.method for s in searches):
        own = [s for s in searches if s.method == method]
        final = [tests[s.method, s.seed] for s in own]
        slides = reported.get(METHODS[method], {})

        def test(metric: str, final=final) -> str:
            return pm([mean_of(trials, metric) for trials in final])

        rows.append(
            {
                "method": METHODS[method],
                "n": len(own),
                "feasible_incumbents": sum(s.feasible(s.incumbent) for s in own),
                "val_top3": pm([s.incumbent.metrics["top3"] for s in own]),
                "val_precision": pm([s.incumbent.metrics[s.problem.precision] for s in own]),
                "test_top3": test("top3"),
                "test_top3_without_leaked": test("top3_without_leaked"),
                "test_precision": test(own[0].problem.precision),
                "test_macro_precision": test("macro_precision"),
                "params": pm([s.incumbent.metrics["params"] for s in own], 0),
                "feasible_share": pm([feasible_share(s) for s in own]),
                "from_model": model_share(own),
                "full_evaluations": pm([len(s.full) for s in own], 0),
                "epochs_search": mean_epochs(own),
                "minutes_training": round(float(np.mean([sum(t.seconds for t in s.history) / 60 for s in own])), 1),
                "minutes_search": round(float(np.mean([s.history.trials[-1].elapsed / 60 for s in own])), 1),
                "epochs_final": sum(round(t.epochs) for trials in final for t in trials),
                "reported_test_top3": slides.get("test_top3"),
                "reported_test_precision": slides.get("test_precision"),
            }
        )
    if default:
        slides, precision = reported["Default"], searches[0].problem.precision
        rows.append(
            {
                "method": "Default",
                "n": len(default),
                "feasible_incumbents": sum(searches[0].feasible(t) for t in default),
                "test_top3": pm([t.metrics["top3"] for t in default]),
                "test_top3_without_leaked": pm([t.metrics["top3_without_leaked"] for t in default]),
                "test_precision": pm([t.metrics[precision] for t in default]),
                "test_macro_precision": pm([t.metrics["macro_precision"] for t in default]),
                "params": f"{default[0].metrics['params']:.0f}",
                "epochs_final": sum(round(t.epochs) for t in default),
                "reported_test_top3": slides["test_top3"],
                "reported_test_precision": slides["test_precision"],
            }
        )
    return pd.DataFrame(rows)


def constraints_table(o: Options, winners: Sequence[Search], tests: Sequence[Sequence[Trial]]) -> pd.DataFrame:
    """EA-HB under each (precision floor, size limit). Beside it stands what the original reports for these two, or for
    the two that a smaller profile scaled down to them (`constrained_ea.SCALED`); nothing where it reports neither."""
    stored = load_reported(NOTEBOOK)["constraints"]
    reported = {(r["min_precision"], r["max_size"]): r for r in stored}
    reported |= dict(zip(SCALED.get(o.profile, ()), stored, strict=False))
    rows = []
    for winner, final in zip(winners, tests, strict=True):
        original = reported.get((winner.problem.min_precision, winner.problem.max_model_size), {})
        rows.append(
            {
                "min_precision": winner.problem.min_precision,
                "max_size": winner.problem.max_model_size,
                "feasible": winner.feasible(winner.incumbent),
                "val_top3": winner.incumbent.metrics["top3"],
                "params": int(winner.incumbent.metrics["params"]),
                "test_precision": pm([t.metrics[o.precision] for t in final]),
                "test_top3": pm([t.metrics["top3"] for t in final]),
                "reported_max_size": original.get("max_size"),
                "reported_params": original.get("params"),
                "reported_test_precision": original.get("test_precision"),
                "reported_test_top3": original.get("test_top3"),
            }
        )
    return pd.DataFrame(rows)


def mcnemar_table(labels: np.ndarray, predictions: Mapping[str, np.ndarray], against: str = "ea_hb") -> pd.DataFrame:
    """McNemar's test with continuity correction on top-1 correctness over the same test images.

    Statistic (|b - c| - 1)^2 / (b + c), b and c the images that only one of the two classifies rightly; chi-squared
    with one degree of freedom (3.841 at 5 %).
    """
    reported = {r["pair"]: r["statistic"] for r in load_reported(NOTEBOOK)["mcnemar"]}
    right = {m: np.asarray(p) == labels for m, p in predictions.items()}
    names = METHODS | {"default": "Default"}
    rows = []
    for other in predictions:
        if other == against:
            continue
        a, b = right[against], right[other]
        pair = f"{names[against]} vs {names[other]}"
        result = mcnemar(
            [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]], exact=False, correction=True
        )
        rows.append(
            {
                "pair": pair,
                "only_first_right": int(np.sum(a & ~b)),
                "only_second_right": int(np.sum(~a & b)),
                "statistic": result.statistic,
                "p": result.pvalue,
                "significant": bool(result.pvalue < 0.05),
                "reported_statistic": reported.get(pair),
            }
        )
    return pd.DataFrame(rows)


def retrained_table(trials: Mapping[str, Sequence[Trial]]) -> pd.DataFrame:
    """The original's configurations retrained as its evaluation script does, against what it reported."""
    stored = load_reported(NOTEBOOK)
    reported = {r["configuration"]: r for r in stored["reruns"] if r["by"] == "reported"}
    reported |= {f"published{row}": r for row, r in enumerate(stored["constraints"], start=1)}
    rows = []
    for name, runs in trials.items():
        original = reported[name.replace(" ", "")]
        rows.append(
            (
                name,
                len(runs),
                int(runs[0].metrics["params"]),
                pm([t.metrics["top3"] for t in runs]),
                original["test_top3"],
                pm([t.metrics["batchwise_precision"] for t in runs]),
                original["test_precision"],
                pm([t.metrics["macro_precision"] for t in runs]),
                pm([t.metrics["top3_without_leaked"] for t in runs]),
                float(np.mean([t.seconds for t in runs]) / 60),
            )
        )
    columns = ["configuration", "n", "params", "test_top3", "reported_test_top3", "test_precision"]
    columns += ["reported_test_precision", "test_macro_precision", "test_top3_without_leaked", "minutes"]
    return pd.DataFrame(rows, columns=columns)


def rungs_table(search: Search, low: int, high: int, eta: int) -> pd.DataFrame:
    """Every Hyperband trial: its bracket in the plan, the configuration it belongs to (`member`), epochs and top-3."""
    n_brackets = len(hyperband.plan(low, high, eta))
    return pd.DataFrame(
        {
            "step": t.bracket // n_brackets,
            "bracket": t.bracket % n_brackets,
            "member": search.history.lineage(t.id)[0],
            "fidelity": t.fidelity,
            "final": t.final,
            "top3": t.metrics["top3"],
        }
        for t in search.history
        if t.bracket is not None and t.status == "ok"
    )


def confusion(labels: np.ndarray, predictions: Sequence[int]) -> np.ndarray:
    """Counts of true (rows) against predicted classes (columns)."""
    return confusion_matrix(labels, predictions)


def tested_table(trials: Sequence[Trial]) -> pd.DataFrame:
    """A row a metric, a column a training."""
    return pd.DataFrame([t.metrics for t in trials]).T


def check_claims(
    o: Options,
    searches: Sequence[Search],
    tests: Mapping[tuple[str, int], Sequence[Trial]],
    retrained: Mapping[str, Sequence[Trial]],
) -> None:
    """What the study says of its own run, asserted.

    Values that depend on floating point carry the tolerances that the retrained originals were given: top-3 .90 +- .015
    and batch-wise precision .56 +- .03 for the best reported configuration, top-3 .755 to .84 for the default one.
    """
    check_searches(searches, o.epoch_budget * o.folds_used)
    for s in searches:
        assert s.incumbent.metrics["params"] <= o.constraint_max_model_size, f"{s.method}: winner too large"
    check_finals(tests, o.final_seeds)
    if "row 1" in retrained:
        runs = retrained["row 1"]
        assert abs(mean_of(runs, "top3") - 0.90) <= 0.015
        assert abs(mean_of(runs, "batchwise_precision") - 0.56) <= 0.03
    if "default" in retrained:
        assert 0.755 <= mean_of(retrained["default"], "top3") <= 0.84


def record_values(
    record: Report,
    o: Options,
    searches: Sequence[Search],
    tests: Mapping[tuple[str, int], Sequence[Trial]],
    mcnemar_rows: pd.DataFrame,
    parameters: Mapping[str, int],
) -> None:
    """The numbers that the paper's text quotes, and each search's winner as a file."""
    record_left_out(record, o, PROFILES, *([] if o.hyperband is None else ["one of the two evolutions"]))
    add = record.value
    budget, limit = o.epoch_budget * o.folds_used, o.constraint_max_model_size
    add("data", o.data, "Data set")
    add("profile_note", o.note, "What this profile changes against the original")
    add("size_limit", limit, "Largest number of parameters", text=f"{limit:,.0f}")
    add("min_precision", o.constraint_min_precision, "Precision floor")
    add("epoch_budget", budget, "Epochs a search may spend", text=f"{budget:,.0f}")
    add("min_epochs", o.min_epochs, "Epochs of the shortest rung")
    add("max_epochs", o.max_epochs, "Epochs of a full training")
    add("eta", o.eta, "Reduction factor of the brackets")
    add("folds", o.folds_used, "Validation folds a trial trains")
    add("n_seeds", len(o.seeds), "Seeds of every search")
    add("trials_total", sum(len(s.history) for s in searches), "Trials of the main comparison")
    add("default_params", parameters["default"], "Parameters of the default network", text=f"{parameters['default']:,}")
    best = parameters["best reported"]
    add("row1_params", best, "Parameters of the best reported network", text=f"{best:,}")
    for size, cap in caps([128, 200, 290]).itertuples(index=False):
        add(f"cap_{size}", cap, f"Batch-wise precision of a perfect classifier at batch size {size}", text=f"{cap:.3f}")

    for method in dict.fromkeys(s.method for s in searches):
        own = [s for s in searches if s.method == method]
        val = [s.incumbent.metrics["top3"] for s in own]
        test = [mean_of(tests[s.method, s.seed], "top3") for s in own]
        share = [100 * feasible_share(s) for s in own]
        feasible = f"{sum(s.feasible(s.incumbent) for s in own)} of {len(own)}"
        name, mean_share = METHODS[method], float(np.mean(share))
        add(f"{method}_val_top3", float(np.mean(val)), f"{name}: validation top-3 of incumbents", text=pm(val))
        add(f"{method}_test_top3", float(np.mean(test)), f"{name}: test top-3 of incumbents", text=pm(test))
        add(f"{method}_feasible_share", mean_share, f"{name}: share of feasible evaluations", text=f"{pm(share, 1)} %")
        add(f"{method}_feasible", feasible, f"{name}: searches with a feasible incumbent")
    add("ordering", ordering(searches), "Methods by feasible incumbents, then by their mean validation top-3")
    for row in mcnemar_rows.itertuples():
        if row.pair == "EA-HB vs RS":
            add("mcnemar_ea_hb_rs", row.statistic, "McNemar's statistic, EA-HB against RS", text=f"{row.statistic:.2f}")
    final = [t for trials in tests.values() for t in trials]
    for s in searches:
        name = f"opt_cfg_{s.method}_seed{s.seed}"
        record.configuration(name, s.incumbent.configuration, f"{METHODS[s.method]}, seed {s.seed}: incumbent")
    leaked = searches[0].problem.leaked
    add("duplicates", int(leaked.sum()), "Test images that are exact copies of training images")
    for name, metric in (("with", "top3"), ("without", "top3_without_leaked")):
        add(f"top3_{name}_duplicates", mean_of(final, metric), f"Mean {metric} over all final trainings")


def ordering(searches: Sequence[Search]) -> str:
    """Methods by how many of their searches found a feasible incumbent, then by the mean top-3 of those incumbents."""
    found = {
        method: [s.incumbent.metrics["top3"] for s in searches if s.method == method and s.feasible(s.incumbent)]
        for method in dict.fromkeys(s.method for s in searches)
    }
    count = {m: sum(s.method == m for s in searches) for m in found}
    best_first = sorted(found, key=lambda m: (len(found[m]), np.mean(found[m] or [0])), reverse=True)
    return ", ".join(
        f"{METHODS[m]} ({len(found[m])} of {count[m]}" + (f", {np.mean(found[m]):.3f})" if found[m] else ")")
        for m in best_first
    )
