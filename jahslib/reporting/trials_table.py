"""All trial logs of the committed profiles as one tidy table, one row per trial: `python -m jahslib table --help`.

    trials = trials_table.load("results/trials.csv.xz")
    trials[(trials.study == "07_constrained_EA") & trials.final].groupby("method").metric_top3.max()

It is a CSV compressed by xz; the same logs give the same bytes. docs/data.md says what each column holds. Left out are
the curves and outputs, which the logs keep, and the searches of `LOOK_UPS`.
"""

import io
import json
import lzma
from pathlib import Path
from typing import Any

from jahslib import paths
from jahslib.core.trials import Trial
from jahslib.errors import UserError
from jahslib.extras import extra
from jahslib.search import logfiles, triallog

with extra("notebooks"):
    import pandas as pd

PROFILES = ("cpu", "paper")  # smoke results are not kept
FILE = "trials.csv.xz"
# Study 08's tables and surrogate: hundreds of thousands of trials for which nothing was trained.
LOOK_UPS = ("cell_edges", "hpobench_mlp", "hpolib", "lcbench", "nasbench201_full")

# Column -> its type; `_row` says what is in it.
COLUMNS = (
    dict.fromkeys(("profile", "study", "log", "problem", "data", "split", "method"), "str")
    | {"seed": "Int64", "trial": "Int64", "fidelity": "Int64", "status": "str", "reason": "str"}
    | dict.fromkeys(("epochs", "seconds", "elapsed"), "float64")
    | {"final": "bool", "parent": "Int64", "bracket": "Int64", "rung": "Int64", "configuration": "str"}
)


def table(results: Path | None = None) -> pd.DataFrame:
    """Read the trial logs in `results`/cpu and /paper, by default this repository's, into one table: one row per trial.

    They are in the order of profile, study, log and completion; after `COLUMNS` stands `metric_NAME` for each metric of
    any trial, by name, NaN where a trial has none of it.

    Raises:
        UserError: no such folder, no trial log in it, or a damaged one.
    """
    results = paths.outputs() / "results" if results is None else Path(results)
    if not results.is_dir():
        raise UserError(f"trials table: no folder {results}; give the one that holds {' and '.join(PROFILES)}")
    logs = [log for profile in PROFILES for log in logfiles.found(results, f"{profile}/*/logs/*")]
    logs = [log for log in logs if triallog.read_header(log)["fingerprint"]["problem"]["name"] not in LOOK_UPS]
    rows = [row for log in logs for row in _rows(log, *log.relative_to(results).parts[:2])]
    if not rows:
        raise UserError(
            f"trials table: no trials in {results}/{{{','.join(PROFILES)}}}/*/logs; run the notebooks in one of these "
            "profiles, or give the folder that holds them"
        )
    metrics = sorted({name for row in rows for name in row if name.startswith("metric_")})
    return _typed(pd.DataFrame(rows, columns=[*COLUMNS, *metrics]))


def write(table: pd.DataFrame, file: Path) -> Path:
    """Write a table as compressed CSV, whole or not at all, without a time or name in it."""
    paths.write(Path(file), paths.xz(table.to_csv(index=False, lineterminator="\n").encode()))
    return Path(file)


def load(file: Path | str) -> pd.DataFrame:
    """Read a table that `write` wrote, every number exactly as it was; `json.loads` reads a configuration.

    Raises:
        UserError: no such file, or not a table of trials.
    """
    text = {name: str for name, kind in COLUMNS.items() if kind == "str"}
    try:
        content = lzma.decompress(Path(file).read_bytes())
        header = pd.read_csv(io.BytesIO(content), nrows=0).columns
        empty = {name: [""] for name in header if name not in text}
        # a method may be called "none"
        found = pd.read_csv(io.BytesIO(content), dtype=text, keep_default_na=False, na_values=empty)  # type: ignore[arg-type]
    except FileNotFoundError as error:
        raise UserError(f"trials table: no file {file}; `python -m jahslib table` writes it") from error
    except (OSError, lzma.LZMAError, ValueError) as error:
        raise UserError(f"trials table: {file} is damaged ({error}); write it again") from error
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        raise UserError(f"trials table: {file} has no column {missing[0]!r}; it is not a table of trials")
    return _typed(found)


def _rows(log: Path, profile: str, study: str) -> list[dict[str, Any]]:
    recorded = triallog.read(log)
    problem = recorded.fingerprint["problem"]
    of_the_log = {"profile": profile, "study": study, "log": log.stem, "problem": problem["name"]}
    of_the_log |= {"data": triallog.data_name(problem), "split": ""}
    of_the_log |= {name: recorded.header[name] for name in ("method", "seed")}
    if problem.get("split") in ("validation", "test"):
        of_the_log["split"] = problem["split"]
    return [{**of_the_log, **_row(trial)} for trial in recorded.trials]


def _row(trial: Trial) -> dict[str, Any]:
    own = {name: value for name, value in vars(trial).items() if name in COLUMNS}
    own |= {"trial": trial.id, "seconds": round(trial.seconds, 3), "elapsed": round(trial.elapsed, 3)}
    own["configuration"] = json.dumps(trial.configuration, sort_keys=True, separators=(",", ":"))
    return own | {f"metric_{name}": value for name, value in trial.metrics.items()}


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    types = {name: COLUMNS.get(name, "float64") for name in table}
    if (table.fidelity % 1).any():  # of a problem whose resource is not counted in epochs
        types["fidelity"] = "float64"
    return table.astype(types)
