"""Progress of searches, read from their trial logs: `python -m jahslib status [FOLDER]`.

Nothing is locked or written, so that searches may be running.
"""

import contextlib
import logging
import time
from pathlib import Path
from typing import get_args

from jahslib.core.trials import Status
from jahslib.errors import UserError
from jahslib.extras import extra
from jahslib.paths import outputs
from jahslib.search import logfiles
from jahslib.search.watch import FOREIGN, Watch, best

with extra("notebooks"):
    import pandas as pd

log = logging.getLogger(__name__)


def status(folder: Path | str | None = None, *, logs: bool = False) -> pd.DataFrame:
    """Summarise the progress of searches from the trial logs below `folder`, by default the repository's results/.

    One row per profile and notebook: `run`, whether `run_all.sh` is running in this profile; `searches`, of these
    `finished` and `under_way`; `trials`, of these `ok`, `failed`, `rejected` (a constraint known before training
    violated) and `cut` (by a time limit); `best` as text (`watch.best`); `epochs` charged; `age`, seconds since the
    last trial finished, NaN without one. With `logs` one row per trial log (`log`), whose `state` is finished, under
    way, stopped (the next run resumes it) or damaged, and whose `best` is a number beside its `metric`, or NaN.

    What is under way is recognised by the files that processes hold open, so not on another machine or another user's.

    Raises:
        UserError: no such folder, or no trial log in it.
    """
    folder = (outputs() / "results" if folder is None else Path(folder)).resolve()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name one with trial logs, such as results/")
    watches = [Watch(log).look() for log in logfiles.found(folder, "**/*") if logfiles.form(log).is_file()]
    now, held = time.time(), _held_open()
    for watch in watches:
        if watch.trouble not in ("", FOREIGN):
            log.warning("trial log %s: %s", watch.path, watch.trouble)
    # an empty file is a search that is just beginning; anything else without a header is no trial log
    watches = [w for w in watches if w.header or not w.trouble]
    if not watches:
        raise UserError(f"{folder}: no trial log in it; run ./run_all.sh, or name a folder that has some")
    table = pd.DataFrame(
        {
            **dict(zip(("profile", "notebook"), _place(w), strict=True)),
            "run": w.path.parent.parent.parent / ".lock" in held,
            "log": w.path.stem,
            "state": _state(w, held),
            "trials": w.trials,
            **{name: w.statuses[name] for name in get_args(Status)},
            "metric": w.objective.metric if w.objective else "",
            "best": w.best,
            "epochs": w.epochs,
            "age": now - w.last,
        }
        for w in watches
    )
    if logs:
        return table.drop(columns="run")
    of_all = {
        "searches": ("log", "size"),
        "finished": ("state", lambda states: (states == "finished").sum()),
        "under_way": ("state", lambda states: (states == "under way").sum()),
        **{name: (name, "sum") for name in ("trials", *get_args(Status))},
        "best": ("best", lambda own: best(watches[i] for i in own.index)),
        "epochs": ("epochs", "sum"),
        "age": ("age", "min"),
    }
    return table.groupby(["profile", "notebook", "run"]).agg(**of_all).reset_index()


def _place(watch: Watch) -> tuple[str, str]:
    """Determine a log's profile and notebook, by its folder results/<profile>/<notebook>/logs or else by its header."""
    *_, profile, notebook, logs, _ = ("", "", "", *watch.path.parts)
    if logs == "logs":
        return profile, notebook
    return watch.header.get("profile", ""), watch.header.get("study", "")


def _state(watch: Watch, held: set[Path]) -> str:
    if watch.trouble:
        return "damaged"
    if watch.path in held:
        return "under way"
    return "finished" if watch.end else "stopped"


def _held_open() -> set[Path]:
    """Find the logs and run locks that processes hold open; to try a lock would refuse a run that just begins."""
    with extra("notebooks"):
        import psutil

    held = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # gone already, or another user's
            files = process.open_files()
            held |= {Path(f.path) for f in files if f.path.endswith((".jsonl", ".lock")) and f.mode != "r"}  # type: ignore[attr-defined]
    return held
