"""Running the entries of a campaign one after another, and telling how far they are."""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from jahslib.core.trials import Trial
from jahslib.errors import UserError
from jahslib.search import logfiles, triallog
from jahslib.search.runs import Run
from jahslib.search.triallog import LoggedSearch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A search of the campaign.

    `hours`: core-hours that it is estimated to take as a whole. `make` gives the search; None while what it rests on,
    which stands before it in the list, has not been run.
    """

    name: str
    hours: float
    make: Callable[[], Run | None]


@dataclass(frozen=True)
class State:
    """How far an entry is: what there is of what is planned, in words, and hours of evaluation spent and left."""

    progress: str
    spent: float
    left: float
    finished: bool = False


def state(entry: Entry) -> State:
    """How far an entry is, by its trial log.

    Raises:
        UserError: the log cannot be read, or is another search's.
    """
    run = entry.make()
    logged = _logged(run) if run is not None else None
    if run is None or logged is None:
        return State("not begun", 0.0, entry.hours)
    run.check()
    spent = sum(t.seconds for t in logged.trials) / 3600
    if _is_finished(logged, run):
        return State("done", spent, 0.0, True)
    if run.budget.trials is not None:
        done, planned, unit = sum(t.status != "rejected" for t in logged.trials), run.budget.trials, "trials"
    else:
        done, planned, unit = sum(t.epochs for t in logged.trials), run.budget.epochs or math.inf, "epochs"
    share = min(done / planned, 1.0)
    # Where there are trials they tell the rate better, also on another machine.
    left = spent / share * (1 - share) if share else entry.hours
    return State(f"{done:.0f} of {planned:.0f} {unit}", spent, left)


def finished(run: Run) -> list[Trial]:
    """The successful trials of a search in the order of their proposals; none while it is not finished."""
    logged = _logged(run)
    trials = logged.trials if logged is not None and _is_finished(logged, run) else []
    return sorted((t for t in trials if t.status == "ok"), key=lambda t: t.id)


def show(entries: Sequence[Entry]) -> None:
    """Print a line an entry, and the sums."""
    states = []
    for entry in entries:
        try:
            states.append(state(entry))
        except UserError as error:
            states.append(State(f"cannot be run: {error}", 0.0, 0.0))
        s = states[-1]
        print(f"{entry.name:<44} {s.spent:6.2f} h spent {s.left:6.2f} h left  {s.progress}")
    spent, left = sum(s.spent for s in states), sum(s.left for s in states)
    print(f"{sum(s.finished for s in states)} of {len(entries)} done; {spent:.1f} hours spent, about {left:.1f} left")


def run_on(entries: Iterable[Entry]) -> int:
    """Run what is not finished, in order; a search that cannot be run is told of and left out.

    Returns:
        How many could not be run.
    """
    failed = 0
    for entry in entries:
        try:
            found, run = state(entry), entry.make()
            if found.finished:
                continue
            if run is None:
                raise UserError("rests on a search that is not finished")
            log.info("%s: %s, about %.2f hours", entry.name, found.progress, found.left)
            log.info("%s: %s", entry.name, run.problem.verdict(run()))
        except UserError as error:
            failed += 1
            log.error("%s is left out: %s", entry.name, error)
    return failed


def _logged(run: Run) -> LoggedSearch | None:
    # without a whole line it was killed while it wrote its first one
    begun = logfiles.exists(run.log) and b"\n" in logfiles.content(run.log)
    return triallog.read(run.log) if begun else None


def _is_finished(logged: LoggedSearch, run: Run) -> bool:
    end = logged.end
    return end is not None and (end["reason"] == "optimizer" or end["budget"] == vars(run.budget))
