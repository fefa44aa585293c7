"""Progress of searches, read from their trial logs: `python -m jahslib status [FOLDER]`.

    from jahslib.search.status import status

    status("results")             # one row per notebook and profile
    status("results", logs=True)  # one row per trial log

Nothing is locked or written, so that searches may be running.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jahslib.errors import UserError
from jahslib.extras import extra
from jahslib.paths import outputs
from jahslib.search import logfiles
from jahslib.search.watch import FOREIGN, Watch, best

with extra("notebooks"):
    import pandas as pd

log = logging.getLogger(__name__)

STATUSES = ("ok", "failed", "rejected", "cut")


def status(folder: Path | str | None = None, *, logs: bool = False) -> pd.DataFrame:
    """Summarise the progress of searches from their trial logs.

    These are the logs below `folder`, by default the repository's results/. One row per profile and notebook, with
    columns `run`: whether `run_all.sh` is running in this profile; `searches`, of these `finished` and `under_way`;
    `trials`, of these `ok`, `failed`, `rejected` (a constraint known before training violated) and `cut` (by a time
    limit); `best`: as text, the best feasible objective, see `watch.best`; `epochs` charged; `age`: seconds since the
    last trial finished, NaN without one.

    With `logs` one row per trial log (`log`), whose `state` is finished, under way, stopped (the next run resumes it)
    or damaged, and whose `best` is a number beside its `metric`; NaN where no trial was feasible at the highest
    fidelity.

    A run and a search under way are recognised by the files that processes hold open, so those of another machine or
    user are not seen; a small `age` shows them.

    Raises:
        UserError: no such folder, or no trial log in it.
    """
    folder = (outputs() / "results" if folder is None else Path(folder)).resolve()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name one with trial logs, such as results/")
    watches = [Watch(log) for log in logfiles.found(folder, "**/*") if logfiles.form(log).is_file()]
    now, held = time.time(), _held_open()
    for watch in watches:
        watch.look()
        if watch.trouble not in ("", FOREIGN):
            log.warning("trial log %s: %s", watch.path, watch.trouble)
    # an empty file is a search that is just beginning; anything else without a header is no trial log
    watches = [w for w in watches if w.header or not w.trouble]
    if not watches:
        raise UserError(f"{folder}: no trial log in it; run ./run_all.sh, or name a folder that has some")
    if logs:
        return pd.DataFrame([_log_row(w, now, held) for w in watches])
    groups: dict[tuple[str, str, bool], list[Watch]] = {}
    for w in watches:
        groups.setdefault((*_place(w), w.path.parent.parent.parent / ".lock" in held), []).append(w)
    return pd.DataFrame([_notebook_row(*place, group, now, held) for place, group in sorted(groups.items())])


def _place(watch: Watch) -> tuple[str, str]:
    """Determine a log's profile and notebook, by its folder or else by its header.

    The folder is results/<profile>/<notebook>/logs.
    """
    *_, profile, notebook, logs, _ = ("", "", "", *watch.path.parts)
    if logs == "logs":
        return profile, notebook
    return watch.header.get("profile", ""), watch.header.get("study", "")


def _notebook_row(
    profile: str, notebook: str, run: bool, watches: Sequence[Watch], now: float, held: set[Path]
) -> dict[str, Any]:
    states = Counter(_state(w, held) for w in watches)
    return {
        "profile": profile,
        "notebook": notebook,
        "run": run,
        "searches": len(watches),
        "finished": states["finished"],
        "under_way": states["under way"],
        **_sums(watches),
        "best": best(watches),
        "epochs": sum(w.epochs for w in watches),
        "age": min((now - w.last for w in watches if not math.isnan(w.last)), default=math.nan),
    }


def _log_row(watch: Watch, now: float, held: set[Path]) -> dict[str, Any]:
    profile, notebook = _place(watch)
    return {
        "profile": profile,
        "notebook": notebook,
        "log": watch.path.stem,
        "state": _state(watch, held),
        **_sums([watch]),
        "metric": watch.objective.metric if watch.objective else "",
        "best": watch.best,
        "epochs": watch.epochs,
        "age": now - watch.last,
    }


def _sums(watches: Sequence[Watch]) -> dict[str, int]:
    counts = {name: sum(w.statuses[name] for w in watches) for name in STATUSES}
    return {"trials": sum(w.trials for w in watches), **counts}


def _state(watch: Watch, held: set[Path]) -> str:
    if watch.trouble:
        return "damaged"
    if watch.path in held:
        return "under way"
    return "finished" if watch.end else "stopped"


def _held_open() -> set[Path]:
    """Find the trial logs and run locks that processes of this user hold open for writing.

    A search holds its log open, and a run its profile's lock, for as long as they last. Trying the lock instead would
    take it for a moment, in which a run that is just beginning would be refused.
    """
    with extra("notebooks"):
        import psutil

    held = set()
    for process in psutil.process_iter():
        try:
            files = process.open_files()
        except (psutil.Error, OSError):
            continue  # gone already, or another user's
        for file in files:
            if file.path.endswith((".jsonl", ".lock")) and getattr(file, "mode", "") != "r":
                held.add(Path(file.path))
    return held
