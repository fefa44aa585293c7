"""Hyperband and asynchronous successive halving (ASHA) of random configurations.

Hyperband: Li et al., JMLR 18(185), 2018. ASHA: Li et al., MLSys 2020 (arXiv 1810.05934), algorithm 2. Both order the
members of a rung by `Problem.rank`, feasible ones first.
"""

import heapq
from bisect import bisect_left, insort
from dataclasses import dataclass, field

import numpy as np

from jahslib.core.optimizer import Replayed
from jahslib.core.problem import Problem
from jahslib.core.trials import Configuration, Suggestion, Trial
from jahslib.optimizers.hyperband import Brackets, Rung, brackets, checked_eta
from jahslib.spaces import configurations as spaces


@dataclass
class _Halving(Replayed):
    """Base of both: their common settings, and newcomers drawn without repetition."""

    problem: Problem
    seed: int
    eta: int = 3
    min_fidelity: float | None = None

    def __post_init__(self):
        super().__post_init__()
        self.eta = checked_eta(self.eta)
        self._plan = brackets(self.problem, self.eta, self.min_fidelity)

    def rederives(self) -> bool:
        return False  # the state depends only on what it was told

    def accept(self, trial_id: int) -> None:
        self.adopt(trial_id, self._history.suggestions[trial_id])

    def _newcomer(self) -> Configuration | None:
        rng, history = np.random.default_rng([self.seed, len(self._history.suggestions)]), self._history
        return spaces.sample_where(self.problem.space, rng, lambda c: not history.has(c) and self.problem.admits(c))


@dataclass
class Hyperband(_Halving):
    """Random configurations competing in the brackets of Hyperband's plan.

    Args:
        eta: one in eta of a rung's members is promoted.
        min_fidelity: of the lowest rung; None is the problem's own minimum.

    Nothing is proposed twice except to continue it. The search is done when 10,000 draws give nothing new.

    Raises:
        UserError: there is no such plan.
    """

    def start(self) -> None:
        self._brackets = Brackets(self.problem, self._plan)

    def propose(self) -> Suggestion | None:
        if promotion := self._brackets.promotion():
            return promotion
        newcomer = self._newcomer()
        return None if newcomer is None else self._brackets.newcomer(newcomer, "random")

    def adopt(self, trial_id: int, suggestion: Suggestion) -> None:
        self._brackets.suggested(suggestion)

    def observe(self, trial: Trial) -> None:
        self._brackets.finished(trial)


@dataclass
class _Level:
    """A rung of unlimited size: its results, best first, and a heap of promotion candidates."""

    fidelity: float
    results: list[tuple] = field(default_factory=list)
    waiting: list[tuple] = field(default_factory=list)


@dataclass
class ASHA(_Halving):
    """Asynchronous successive halving: immediate promotion from the top 1/eta of a rung.

    Args:
        eta: one in eta of a rung's results so far is promoted.
        min_fidelity: of the lowest rung; None is the problem's own minimum.

    No worker ever waits. Nothing is proposed twice except to continue it. The search is done when 10,000 draws give
    nothing new and no promotion is due.

    Raises:
        UserError: there are no such rungs.
    """

    def start(self) -> None:
        rungs: list[Rung] = self._plan[0]
        self._levels = [_Level(rung.fidelity) for rung in rungs]
        self._promoted: set[int] = set()

    def propose(self) -> Suggestion | None:
        for number in range(len(self._levels) - 1, 0, -1):
            if best := self._promotable(self._levels[number - 1]):
                return self._suggestion(best.configuration, number, best.id)
        newcomer = self._newcomer()
        return None if newcomer is None else self._suggestion(newcomer, 0, None)

    def _promotable(self, level: _Level) -> Trial | None:
        """Return the best result not yet promoted, if it is in the top 1/eta."""
        while level.waiting and level.waiting[0][1] in self._promoted:
            heapq.heappop(level.waiting)
        if not level.waiting:
            return None
        rank, trial_id, trial = level.waiting[0]
        return trial if bisect_left(level.results, (rank, trial_id)) < len(level.results) // self.eta else None

    def _suggestion(self, configuration: Configuration, number: int, parent: int | None) -> Suggestion:
        final, fidelity = number == len(self._levels) - 1, self._levels[number].fidelity
        return Suggestion(configuration, fidelity, parent, bracket=0, rung=number, final=final, origin="random")

    def adopt(self, trial_id: int, suggestion: Suggestion) -> None:
        if suggestion.parent is not None:
            self._promoted.add(suggestion.parent)

    def observe(self, trial: Trial) -> None:
        level, rank = self._levels[trial.rung or 0], self.problem.rank(trial)
        insort(level.results, (rank, trial.id))
        if trial.status == "ok" and not trial.final:
            heapq.heappush(level.waiting, (rank, trial.id, trial))
