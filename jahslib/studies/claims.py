"""The parts of study 08 that a run leaves out."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from jahslib.experiments.profiles import RunOptions
from jahslib.reporting.report import LEFT_OUT, Report


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
