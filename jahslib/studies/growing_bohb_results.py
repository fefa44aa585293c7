"""Study 01: tables and the numbers behind its figures, all computed from trial logs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from jahslib import spaces
from jahslib.problems.growing_convnet import LEARNING_RATE, grows
from jahslib.report import Report
from jahslib.reported import load as load_reported
from jahslib.studies.claims import check_finals, check_searches, record_left_out
from jahslib.studies.growing_bohb import METHODS, NOTEBOOK, PROFILES, Options, Search
from jahslib.studies.runs import run_trials, trainings
from jahslib.studies.tables import layer_traces, mean_epochs, mean_of, model_share, pm, ranked
from jahslib.trials import Trial

Finals = Mapping[tuple[str, int], Sequence[Trial]]


def space_table(searches: Sequence[Search]) -> pd.DataFrame:
    """The joint space with the incumbents found by BOHB, one column a seed, and the one reported."""
    found = [s for s in searches if s.method == "bohb"] or list(searches)[:1]
    reported = {row["hyperparameter"]: row["incumbent"] for row in load_reported(NOTEBOOK)["space"]}
    rows = []
    for parameter in found[0].problem.space.values():
        name = parameter.name
        scale = ", log" if getattr(parameter, "log", False) else ""
        row = {
            "hyperparameter": name,
            "range": f"[{parameter.lower:g}, {parameter.upper:g}]{scale}",  # type: ignore[attr-defined]
            "default": f"{parameter.default_value:g}",  # type: ignore[attr-defined]
        }
        for s in found:
            value = s.incumbent.configuration.get(name)
            row[f"seed_{s.seed}"] = "–" if value is None else f"{value:.3g}"
        value = reported.get(name)
        rows.append(row | {"reported": "–" if value is None else f"{value:g}"})
    return pd.DataFrame(rows)


def shape(trials: Sequence[Trial]) -> str:
    """Mean widths of the trained networks, such as 30-34-36 or 30-34-36/20 with fully connected layers."""
    folds = [fold for t in trials for fold in t.outputs["folds"]]
    mean = np.rint(np.mean([f["widths"] for f in folds], axis=0)).astype(int)
    n_conv = folds[0]["n_conv"]
    conv, fc = "-".join(map(str, mean[:n_conv])), "-".join(map(str, mean[n_conv:]))
    return f"{conv}/{fc}" if fc else conv


def winners_table(searches: Sequence[Search], finals: Finals) -> pd.DataFrame:
    """One row a search: its incumbent, and what it became on the whole training split."""
    rows = []
    for s in searches:
        trials = finals[s.method, s.seed]
        rows.append(
            {
                "method": METHODS[s.method],
                "seed": s.seed,
                "val_top1": s.incumbent.metrics["top1"],
                "test_top1": pm([t.metrics["top1"] for t in trials]),
                "widths": shape(trials),
                "params": int(mean_of(trials, "params")),
                "learning_rate": s.incumbent.configuration.get("learning_rate_init", LEARNING_RATE),
                "configurations": len(s.full),
                "epochs": sum(t.epochs for t in s.history),
                "minutes": s.history.trials[-1].elapsed / 60,
            }
        )
    return pd.DataFrame(rows)


def methods_table(searches: Sequence[Search], finals: Finals) -> pd.DataFrame:
    """The comparison: each cell is over the seeds of a method (test values first averaged within a seed)."""
    tested = {row["type"]: row for row in load_reported("02_growing_thresholds")["test"]}
    reported = {"bohb": tested["BOHB growing"], "static": tested["BOHB static"], "hpo": tested["baseline"]}
    rows = []
    for method in dict.fromkeys(s.method for s in searches):
        own = [s for s in searches if s.method == method]
        trials = [finals[method, s.seed] for s in own]
        original = reported.get(method, {})
        trained = [t for s in own for t in s.history if t.status == "ok"]
        rows.append(
            {
                "method": METHODS[method],
                "n": len(own),
                "val_top1": pm([s.incumbent.metrics["top1"] for s in own]),
                "test_top1": pm([mean_of(ts, "top1") for ts in trials]),
                "params": pm([mean_of(ts, "params") for ts in trials], 0),
                "configurations": pm(
                    [len({str(t.configuration) for t in s.history if t.status == "ok"}) for s in own], 0
                ),
                "from_model": model_share(own),
                "rejected": round(float(np.mean([sum(t.status == "rejected" for t in s.history) for s in own]))),
                "epochs_search": mean_epochs(own),
                "minutes_training": round(sum(t.seconds for t in trained) / 60 / len(own), 1),
                "minutes_search": round(float(np.mean([s.history.trials[-1].elapsed / 60 for s in own])), 1),
                "epochs_final": sum(round(t.epochs) for ts in trials for t in ts),
                "reported_test_top1": original.get("accuracy"),
                "reported_sd": original.get("accuracy_sd"),
                "reported_params": None if not original else 1000 * original["params_thousands"],
            }
        )
    return pd.DataFrame(rows)


def evaluations_table(searches: Sequence[Search]) -> pd.DataFrame:
    """Every full evaluation of every search."""
    return pd.DataFrame(
        {
            "method": s.method,
            "seed": s.seed,
            "top1": t.metrics["top1"],
            "params": t.metrics["params"],
            "learning_rate": t.configuration.get("learning_rate_init", LEARNING_RATE),
        }
        for s in searches
        for t in s.full
    )


def growth_table(searches: Sequence[Search], finals: Finals) -> pd.DataFrame:
    """The growth of BOHB's first incumbent over its final trainings: width of each layer, parameters of the network."""
    first = next((s for s in searches if s.method == "bohb" and grows(s.incumbent.configuration)), None)
    if first is None:
        return pd.DataFrame()
    folds = [f for t in finals[first.method, first.seed] for f in t.outputs["folds"]]
    table = layer_traces([f["trace"] for f in folds], folds[0]["n_conv"])
    params = pd.concat(
        pd.DataFrame({"step": f["trace"]["step"], "params": f["trace"]["params"], "training": i})
        for i, f in enumerate(folds)
    )
    return table.merge(params, on=["step", "training"])


def evaluated_again(
    searches: Sequence[Search],
    logs: Path,
    *,
    profile: str,
    workers: int = 1,
    scheduler: str | None = None,
    fresh: bool = False,
) -> pd.DataFrame:
    """Train each incumbent once more on the folds it was found on; its values beside those of its search.

    As the original does at the end of its search, but with other initial weights and batches: with the search's own
    seed every value would be the search's. What is lost is what choosing the best of many had added.

    Args:
        logs: where the trial logs of these trainings stand; what is in them is not trained again.
    """
    runs = {}
    for s in searches:
        c = s.incumbent.configuration
        log = logs / f"again-{s.method}-seed{s.seed}-{spaces.digest(c)}.jsonl"
        names = {"method": s.method, "study": NOTEBOOK, "profile": profile}
        runs[s.method, s.seed] = trainings(s.problem, [c], log, seed=1_000_000 + s.seed, **names)
    again = run_trials(runs, workers=workers, scheduler=scheduler, fresh=fresh)
    rows = []
    for s in searches:
        row = {"method": METHODS[s.method], "seed": s.seed, "val_top1": s.incumbent.metrics["top1"]}
        row |= {"val_top1_again": mean_of(again[s.method, s.seed], "top1"), "params": s.incumbent.metrics["params"]}
        rows.append(row | {"params_again": mean_of(again[s.method, s.seed], "params")})
    return pd.DataFrame(rows)


def check_claims(o: Options, searches: Sequence[Search], finals: Finals) -> None:
    """What the study says of its own run, asserted."""
    check_searches(searches, o.epoch_budget * o.folds_used)
    for s in searches:
        for t in s.history:
            if t.status == "ok" and o.max_params is not None:
                assert t.metrics["params"] <= o.max_params, f"{s.method} trial {t.id}: {t.metrics['params']} parameters"
    check_finals(finals, o.final_seeds)


def record_values(record: Report, o: Options, searches: Sequence[Search], finals: Finals) -> None:
    """The numbers that the paper's text quotes, and each search's winner as a file."""
    record_left_out(record, o, PROFILES)
    add = record.value
    add("data", o.data, "Data set")
    add("profile_note", o.note, "What this profile changes against the original")
    add("epoch_budget", o.epoch_budget, "Epochs a search may spend on a fold", text=f"{o.epoch_budget:,.0f}")
    limit = "infinitely many" if o.max_params is None else f"{o.max_params:,}"
    add("max_params", o.max_params or 0, "Parameters that a network may have", text=limit)
    add("n_seeds", len(o.seeds), "Seeds of every search")
    add("folds", o.folds_used, "Validation folds a trial trains")
    add("trials_total", sum(len(s.history) for s in searches), "Trials of all searches")
    for method in dict.fromkeys(s.method for s in searches):
        own = [s for s in searches if s.method == method]
        val = [s.incumbent.metrics["top1"] for s in own]
        test, params = ([mean_of(finals[s.method, s.seed], metric) for s in own] for metric in ("top1", "params"))
        name = METHODS[method]
        add(f"{method}_val_top1", float(np.mean(val)), f"{name}: validation accuracy of incumbents", text=pm(val))
        add(f"{method}_test_top1", float(np.mean(test)), f"{name}: test accuracy of incumbents", text=pm(test))
        add(f"{method}_params", float(np.mean(params)), f"{name}: parameters", text=f"{np.mean(params):,.0f}")
    add("ordering", ordering(searches, finals), "Methods by the mean test accuracy of their incumbents")
    for s in searches:
        name = f"opt_cfg_{s.method}_seed{s.seed}"
        record.configuration(name, s.incumbent.configuration, f"{METHODS[s.method]}, seed {s.seed}: incumbent")


def ordering(searches: Sequence[Search], finals: Finals) -> str:
    """Methods by the mean test accuracy of all final trainings of their incumbents, the best first."""
    mean = {
        m: float(np.mean([t.metrics["top1"] for s in searches if s.method == m for t in finals[m, s.seed]]))
        for m in dict.fromkeys(s.method for s in searches)
    }
    return ranked(mean, METHODS)
