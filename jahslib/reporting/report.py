"""The only writer of results/ and figs/: values, tables and figures, each with its provenance.

A notebook makes one `Report`, adds records to it, and calls `save`, which alone writes, at its end: a notebook that
fails half-way leaves the files of the last whole run. The paper reads nothing else.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jahslib import paths
from jahslib.analysis.curves import SPENT, changes
from jahslib.core.trials import Configuration
from jahslib.errors import UserError
from jahslib.extras import extra
from jahslib.reporting.figure_files import smaller
from jahslib.search import logfiles, triallog

with extra("notebooks"):
    import matplotlib
    import pandas as pd
    from matplotlib.figure import Figure

if TYPE_CHECKING:
    from jahslib.experiments.study import Study

LEFT_OUT = "left_out"  # record of a run that leaves out a part of its study, such as some of its methods


class Report:
    """Records of one notebook, such as "07_constrained_EA", in one profile: smoke, cpu or paper."""

    def __init__(self, notebook: str, profile: str):
        self.notebook, self.profile = notebook, profile
        self.results = paths.results(profile, notebook)
        self.figs = paths.figs(profile, notebook)
        self._records: dict[str, dict[str, Any]] = {}
        self._files: dict[Path, str | bytes] = {}

    @classmethod
    def of(cls, study: "Study") -> "Report":
        """Begin a study's records with what its profile changes and which parts of the study this run leaves out."""
        settings = study.settings
        record = cls(study.notebook, settings.profile)
        record.value("profile_note", settings.note, "What this profile changes against the original")
        if missing := [f"{name} {', '.join(parts)}" for name, parts in settings.left_out.items()]:
            record.value(LEFT_OUT, "; ".join(missing), "Parts of the study that this run leaves out")
        return record

    def value(self, name: str, value: Any, about: str, *, text: str | None = None) -> None:
        """Record a number or word that the paper quotes, or a value in JSON's types that it sets a sentence from.

        `text`: as the paper quotes it, by default in four significant digits; lists and mappings have none.
        """
        record = {"kind": "value", "value": value, "about": about}
        if not isinstance(value, list | dict):
            record["text"] = text if text is not None else f"{value:.4g}" if isinstance(value, float) else str(value)
        self._add(name, record)

    def mean(self, name: str, values: Sequence[float], about: str) -> None:
        """Record the mean over seeds or folds, with the standard deviation of the sample and their number."""
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
        self._add(name, {"kind": "value", "value": float(np.mean(values)), "sd": sd, "n": len(values), "about": about})

    def table(self, name: str, table: pd.DataFrame, about: str) -> pd.DataFrame:
        """Record a table, to be NAME.csv (one without columns gets one, `nothing`), and return it to be shown."""
        file = self.results / f"{name}.csv"
        self._add(name, {"kind": "table", "file": file.name, "about": about})
        written = table if len(table.columns) else pd.DataFrame(columns=["nothing"])
        self._files[file] = written.to_csv(index=False, float_format=_digits, lineterminator="\n")
        return table

    def course(self, name: str, course: pd.DataFrame, about: str, spent: Sequence[str] = SPENT) -> pd.DataFrame:
        """Record searches' courses as a table of their `changes`, and return them whole for figures."""
        self.table(name, changes(course, spent), f"{about}; between two rows all but what was spent holds")
        return course

    def figure(self, name: str, figure: Figure, about: str) -> None:
        """Record a figure, to be NAME.svg for the paper and NAME.png for reading. The same data give the same bytes."""
        self._add(name, {"kind": "figure", "file": f"{name}.svg", "about": about})
        with matplotlib.rc_context({"svg.hashsalt": "jahslib", "svg.fonttype": "path"}):
            for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
                drawn = io.BytesIO()
                figure.savefig(drawn, format=suffix, metadata=metadata, dpi=150)
                self._files[self.figs / f"{name}.{suffix}"] = smaller(drawn.getvalue(), suffix)

    def configuration(self, name: str, configuration: Configuration, about: str) -> None:
        """Record a configuration, to be NAME.json, which a notebook's `configuration` parameter takes."""
        file = self.results / f"{name}.json"
        self._add(name, {"kind": "configuration", "file": file.name, "about": about})
        self._files[file] = json.dumps(configuration, indent=1, sort_keys=True) + "\n"

    def save(self, logs: Iterable[Path]) -> Path:
        """Write all files, and then records.json, the index that the paper reads; `logs` are those they rest on."""
        content = {"notebook": self.notebook, "profile": self.profile, **_provenance(sorted(logs))}
        content["records"] = dict(sorted(self._records.items()))
        for written, text in self._files.items():
            paths.write(written, text)
        file = self.results / "records.json"
        paths.write(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        return file

    def _add(self, name: str, record: dict[str, Any]) -> None:
        if name in self._records:
            raise UserError(f"report {self.notebook}: record {name!r} is written twice; give the second its own name")
        self._records[name] = record


def _digits(number: float) -> str:
    return f"{number:.0f}" if abs(number) >= 1e6 else f"{number:.6g}"


def _provenance(logs: list[Path]) -> dict[str, Any]:
    """Summarise what the logs' headers say of how they were made; all of them when they differ."""
    headers = [triallog.read_header(log) for log in logs]

    def one_or_all(key: str) -> Any:
        found = [json.loads(text) for text in sorted({json.dumps(h[key], sort_keys=True) for h in headers})]
        return found[0] if len(found) == 1 else found

    return {
        "seeds": sorted({h["seed"] for h in headers}),
        **{key: one_or_all(key) for key in ("device", "versions", "commit")},
        "logs": {log.name: hashlib.sha256(logfiles.content(log)).hexdigest()[:32] for log in logs},
    }
