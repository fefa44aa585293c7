"""What several studies say of their own runs: claims, asserted, and the parts that were left out."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from jahslib.core.trials import Trial, key
from jahslib.experiments.profiles import RunOptions
from jahslib.reporting.report import LEFT_OUT, Report
from jahslib.search.runs import AnySearch


def check_searches(searches: Sequence[AnySearch], epochs: float) -> None:
    """None spent more than so many epochs, saw the test split, or has a trial that is better than its incumbent."""
    for s in searches:
        name = f"{s.method} on {s.problem.data} with seed {s.seed}"
        spent = sum(t.epochs for t in s.history)
        assert spent <= epochs, f"{name} overspent: {spent} epochs"
        assert getattr(s.problem, "split", "validation") == "validation", f"{name} saw the test split"
        better = [t for t in s.full if s.problem.rank(t) < s.problem.rank(s.incumbent)]
        assert not better, f"{name}: {len(better)} trials are better than its incumbent"


def check_no_repeats(searches: Sequence[AnySearch]) -> None:
    """None proposed a configuration twice."""
    for s in searches:
        proposed = [key(t.configuration) for t in s.history]
        assert len(set(proposed)) == len(proposed), f"{s.name}: evaluated a configuration twice"


def check_finals(finals: Mapping[tuple, Sequence[Trial]], count: int) -> None:
    """Each incumbent was trained so many times for the test."""
    for search, trials in finals.items():
        assert len(trials) == count, f"{', '.join(map(str, search))}: {len(trials)} final trainings"


def record_left_out(record: Report, o: RunOptions, profiles: Mapping[str, Mapping[str, Any]], *others: str) -> None:
    """Record which methods, tasks and the like of its profile a run leaves out, if any; see
    `jahslib.reporting.paper.build`.
    `others`: further parts left out, in words."""
    missing = list(others)
    for option in fields(o):
        default = option.default_factory() if option.default_factory is not MISSING else option.default
        whole, chosen = profiles[o.profile].get(option.name, default), getattr(o, option.name)
        if option.name != "seeds" and isinstance(whole, tuple) and isinstance(chosen, tuple):
            absent = [str(part) for part in whole if isinstance(part, str | float) and part not in chosen]
            missing += [f"{option.name} {', '.join(absent)}"] if absent else []
    if missing:
        record.value(LEFT_OUT, "; ".join(missing), "Parts of the study that this run leaves out")
