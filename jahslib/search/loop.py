"""The search loop, from the logged history to the end of the budget; `jahslib.search.search` opens what it needs."""

import contextlib
import logging
import math
import shutil
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jahslib.core.optimizer import Optimizer
from jahslib.core.problem import Job, Problem
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.errors import Count, NotNegative, Positive, UserError, bounded, refuse_illegal
from jahslib.search import shared
from jahslib.search.evaluation import Evaluated, evaluate, reason_of
from jahslib.search.triallog import TrialLog
from jahslib.search.warm_start import is_copy

log = logging.getLogger(__name__)

# An optimizer that proposes this many untrainable configurations in a row will not find a trainable one, and a problem
# that fails this often in a row is broken.
MAX_REJECTED_IN_A_ROW = 1000
MAX_FAILED_IN_A_ROW = 50

# More than the widest rung of any Hyperband plan in use: a bound on disk space, not on what can be continued.
KEPT_CHECKPOINTS = 40


@dataclass(frozen=True)
class Budget:
    """Limits of a search, which ends with the first one reached.

    `epochs` are summed over folds and never overspent, as far as `Problem.epochs` predicts what a trial is charged. A
    log made under more trials or epochs is read as far as this budget goes, one made under more seconds as a whole.

    Raises:
        UserError: no limit, or one that is not a positive finite number, for trials a whole one.
    """

    trials: Count | None = None
    epochs: Positive | None = None
    seconds: Positive | None = None

    def __post_init__(self):
        if self.trials is self.epochs is self.seconds is None:
            raise UserError("budget: empty; give trials, epochs or seconds")
        refuse_illegal(self, "budget: ")


@dataclass
class Loop:
    """The state of one call of `search`."""

    problem: Problem
    optimizer: Optimizer
    budget: Budget
    log: TrialLog
    checkpoints: Path
    seed: int
    labels: dict[str, Any]
    on_trial: Callable[[Trial, History], None] | None
    history: History = field(default_factory=History)
    end: str = ""

    def __post_init__(self):
        self._warned: set[str] = set()
        self._failed_in_a_row = 0  # in this session: the cause of earlier failures may have been fixed
        self._facts: dict[int, tuple[dict[str, float], bool]] = {}  # by pending id; see `_before_training`
        self._continuable: deque[int] = deque()  # ids of trials whose checkpoints are kept, oldest first
        self._run_again: set[int] = set()
        self._before = self.log.trials[-1].elapsed if self.log.trials else 0.0
        self._since = time.monotonic()

    def begin_with(self, earlier: list[Trial]) -> None:
        """Log the trials of an earlier search (warm start) that are not in the log yet."""
        for trial in earlier[len(self.log.trials) :]:
            self.log.append(trial, sync=False, **self.labels)
            self.log.trials.append(trial)
        self.log.sync()
        self.history.given = len(earlier)
        self._copied = sum(t.status != "rejected" for t in self.log.trials[: len(earlier)])

    def elapsed(self) -> float:
        """Compute the seconds of search over all sessions; what a killed one did after its last trial is unknown."""
        return self._before + time.monotonic() - self._since

    def already_complete(self) -> bool:
        """Tell whether the log ends with this budget or the optimizer exhausted, and load its history if so."""
        end = self.log.end
        same_budget = end is not None and end["budget"] == vars(self.budget)
        if end is None or not (same_budget or end["reason"] == "optimizer"):
            return False
        self._recorded_events(ask=None, whole=same_budget)
        self.end = end["reason"]
        return True

    def replay(self) -> None:
        """Rebuild the history from the log; suggestions lost in flight are asked for again, at the same point of it."""
        self._recorded_events(ask=self.optimizer.ask)

    def _recorded_events(self, ask: Callable[[History], Suggestion | None] | None, whole: bool = False) -> None:
        recorded = {trial.id: trial for trial in self.log.trials}
        for trial in self.log.trials:
            if not whole and self._is_beyond(trial):
                return
            while len(self.history.suggestions) < trial.asked:
                known = recorded.get(len(self.history.suggestions))
                suggestion = known.suggestion() if known else ask and ask(self.history)
                self.history.recall(suggestion, trial)
            if lacking := self.problem.lacking(trial):
                raise UserError(f"trial log {self.log.path}: trial {trial.id} has no {lacking}; move the file away")
            self._finish(trial)

    def _is_beyond(self, trial: Trial) -> bool:
        """Tell whether a logged trial lies beyond this budget, by its predicted charge as `_next` would have."""
        if trial.status == "rejected" or is_copy(trial):
            return False
        spent = self.history.spent + self._price(trial.suggestion())
        trained = self._searched() + 1
        if self.budget.epochs is not None and spent > self.budget.epochs:
            self.end = "epochs"
        elif self.budget.trials is not None and trained > self.budget.trials:
            self.end = "trials"
        return bool(self.end)

    def live(self, executor: Executor, workers: int) -> None:
        """Propose, evaluate and record until the end; on an interrupt or an error the log stays valid."""
        running: dict[Future, int] = {}
        # simulated workers have a clock of their own
        first_completed = getattr(
            executor, "first_completed", lambda them: wait(them, return_when=FIRST_COMPLETED).done
        )
        try:
            for trial_id in list(self.history.pending):  # lost in flight by a kill
                running[self._submit(executor, trial_id)] = trial_id
            while True:
                while len(running) < workers and not self.end:
                    trial_id = self._next(bool(running))
                    if trial_id is None:
                        break
                    running[self._submit(executor, trial_id)] = trial_id
                self.log.sync()  # once for all, and while they train: on a shared folder it takes longer than all else
                if not running:
                    return
                done = first_completed(running)
                # Futures that finish together are told in the order they were asked, one that ends the search last.
                for future in sorted(done, key=lambda f: (isinstance(f.exception(), UserError), running[f])):
                    trial_id = running.pop(future)
                    if isinstance(future.exception(), BrokenProcessPool) and trial_id not in self._run_again:
                        self._run_again.add(trial_id)  # its worker was killed, possibly by chance: try once more
                        running[self._submit(executor, trial_id)] = trial_id
                    else:
                        self._record(trial_id, future)
                if not shared.is_elsewhere(executor):  # the next training may take this process
                    self.log.sync()
        except BaseException as error:
            for future in running:
                future.cancel()
            if isinstance(error, CancelledError):
                raise UserError(shared.LOST) from error
            raise

    def _next(self, others_running: bool) -> int | None:
        """Ask for one suggestion and record it; None if the budget is used up, or the optimizer waits or is done."""
        in_training = [trial_id for trial_id in self.history.pending if self._before_training(trial_id)[1]]
        trained = self._searched() + len(in_training)
        if self.budget.trials is not None and trained >= self.budget.trials:
            self.end = "trials"
        elif self.budget.seconds is not None and self.elapsed() >= self.budget.seconds:
            self.end = "seconds"
        elif self.history.rejected_in_a_row >= MAX_REJECTED_IN_A_ROW:
            self.end = f"none of {MAX_REJECTED_IN_A_ROW} suggestions in a row could be trained"
        if self.end:
            return None
        suggestion = self.optimizer.ask(self.history)
        if suggestion is None:
            if not others_running:
                self.end = "optimizer"
                if not self.history.trials:
                    why = "are the constraints known before training impossible?"
                    log.warning("%s: the optimizer found no configuration at all; %s", self.log.path.stem, why)
            return None
        if self.budget.epochs is not None:
            pending = (self._price(self.history.suggestions[trial_id]) for trial_id in in_training)
            committed = self.history.spent + sum(pending)
            admitted = self.problem.admits(suggestion.configuration)
            if admitted and committed + self._price(suggestion) > self.budget.epochs:
                self.end = "epochs"
                return None
        return self.history.ask(suggestion)

    def _searched(self) -> int:
        """Count the trials charged to the budget: neither rejected nor copied by a warm start."""
        return len(self.history.trained) - self._copied

    def _before_training(self, trial_id: int) -> tuple[dict[str, float], bool]:
        """Return what is known of a pending trial, and whether it may be trained; the problem is asked once."""
        if trial_id not in self._facts:
            configuration = self.history.suggestions[trial_id].configuration
            self._facts[trial_id] = self.problem.facts(configuration), self.problem.admits(configuration)
        return self._facts[trial_id]

    def _price(self, suggestion: Suggestion) -> float:
        foretold = self.problem.epochs(self._stages(suggestion))
        return bounded(f"problem {self.problem.name}: epochs", foretold, NotNegative)

    def _stages(self, suggestion: Suggestion) -> tuple[float, ...]:
        ancestors = () if suggestion.parent is None else self.history.lineage(suggestion.parent)
        return (*(self.history.suggestions[i].fidelity for i in ancestors), suggestion.fidelity)

    def _submit(self, executor: Executor, trial_id: int) -> Future:
        suggestion = self.history.suggestions[trial_id]
        if not self._before_training(trial_id)[1]:
            rejected: Future = Future()
            rejected.set_result(Evaluated("rejected", reason="a constraint known before training is broken"))
            return rejected
        root = self.history.lineage(trial_id)[0]
        parent = suggestion.parent
        limit = self.budget.seconds
        job = Job(
            configuration=dict(suggestion.configuration),  # a copy: changes by the problem must not reach the log
            stages=self._stages(suggestion),
            # A promoted trial keeps the seed of its first ancestor: it is the same training, continued.
            seed=int(np.random.SeedSequence([self.seed, root]).generate_state(1)[0]),
            restore=None if parent is None else self._checkpoint(parent),
            save=None if suggestion.final else self._checkpoint(trial_id),
            deadline=None if limit is None else time.time() + limit - self.elapsed(),
        )
        try:
            needed = self.checkpoints if job.save or job.restore else None
            return shared.submit(executor, needed, evaluate, self.problem, job)
        except BrokenExecutor as error:
            raise UserError(
                f"executor: takes no more jobs ({error}); run again to resume, or give `pool` of "
                "jahslib.search.workers, which replaces workers that were killed"
            ) from error

    def leave_no_checkpoints(self) -> None:
        """Delete the search's checkpoints, and their folder unless it holds other files."""
        for folder in self.checkpoints.glob("trial-[0-9]*"):
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.checkpoints / shared.TOKEN).unlink(missing_ok=True)
            self.checkpoints.rmdir()

    def _checkpoint(self, trial_id: int) -> Path:
        return self.checkpoints / f"trial-{trial_id:05d}"

    def _record(self, trial_id: int, future: Future) -> None:
        suggestion = self.history.suggestions[trial_id]
        try:
            result = future.result()
        except UserError:
            raise
        except Exception as error:  # the worker died, or its result could not be sent back
            result = Evaluated("failed", reason=reason_of(error))
        known = {name: value for name, value in self._facts.pop(trial_id)[0].items() if math.isfinite(value)}
        trial = Trial(
            **vars(suggestion),
            id=trial_id,
            status=result.status,
            reason=result.reason,
            metrics=known | result.outcome.metrics,
            curve=result.outcome.curve,
            outputs=result.outcome.outputs,
            epochs=result.outcome.epochs,
            seconds=round(result.seconds, 6),
            elapsed=round(self.elapsed(), 6),
            asked=len(self.history.suggestions),
            worker=result.worker,
            started=round(result.started, 3),
            finished=round(time.time(), 3),
        )
        self.problem.refuse_undeclared(trial)
        self._compare(trial)
        try:
            self.log.append(trial, sync=False, **self.labels)
        except (TypeError, RecursionError) as error:
            raise UserError(
                f"problem {self.problem.name}: `evaluate` returned what JSON cannot hold ({error}); "
                "return numbers, texts, lists and dictionaries"
            ) from error
        self._finish(trial)
        if self.on_trial:
            self.on_trial(trial, self.history)
        self._give_up_if_broken(trial)

    def _compare(self, trial: Trial) -> None:
        """Warn once of a charge, and once of a value, that the problem did not foretell."""
        foretold, objective = self._price(trial), self.problem.objective
        if trial.epochs > foretold and self.budget.epochs is not None:
            told = f"charged {trial.epochs:g} epochs, `epochs` foretold {foretold:g}: the budget may be overspent"
            self._warn_once("charge", f"trial {trial.id} was {told}")
        if trial.status == "ok" and objective.is_beyond_worst(value := trial.metrics[objective.metric]):
            told = f"{objective.metric}={value:g}, worse than the objective's worst={objective.worst:g}, and counts as"
            self._warn_once("worst", f"trial {trial.id} has {told} a failed one; declare a worst that none passes")

    def _warn_once(self, what: str, text: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            log.warning("%s: %s", self.log.path.stem, text)

    def _give_up_if_broken(self, trial: Trial) -> None:
        if trial.status == "failed":
            self._failed_in_a_row += 1
            log.warning("%s trial %d failed: %s", self.log.path.stem, trial.id, trial.reason)
        elif trial.status != "rejected":
            self._failed_in_a_row = 0
        if self._failed_in_a_row >= MAX_FAILED_IN_A_ROW:
            raise UserError(
                f"{self.log.path.stem}: {MAX_FAILED_IN_A_ROW} trials in a row failed, the last with {trial.reason!r}; "
                "mend that and run again to go on after them, or start over (fresh)"
            )

    def _finish(self, trial: Trial) -> None:
        """Tell the history, and delete checkpoints that are no longer needed; a missing one costs only time."""
        self.history.finish(trial)
        gone = [] if trial.parent is None else [trial.parent]
        if not trial.final:
            self._continuable.append(trial.id)
            if len(self._continuable) > KEPT_CHECKPOINTS:
                gone.append(self._continuable.popleft())
        for trial_id in gone:
            shutil.rmtree(self._checkpoint(trial_id), ignore_errors=True)
