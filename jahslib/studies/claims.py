"""What study 08 says of its own runs: final trainings, and the parts that were left out."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from jahslib.core.trials import Trial
from jahslib.experiments.profiles import RunOptions
from jahslib.reporting.report import LEFT_OUT, Report


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
