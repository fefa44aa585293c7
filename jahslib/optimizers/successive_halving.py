"""Hyperband and asynchronous successive halving (ASHA) of random configurations.

Hyperband: Li et al., JMLR 18(185), 2018. ASHA: Li et al., MLSys 2020 (arXiv 1810.05934), algorithm 2. Both order the
members of a rung by `Problem.rank`, feasible ones first. Nothing is proposed twice except to continue it. When 10,000
draws give nothing new, the best of what there is are still promoted, and then the search is done.

`eta`: one in eta of a rung's members is promoted. `min_fidelity`: of the lowest rung; None is the problem's own
minimum.
"""

import heapq
from bisect import bisect_left, insort
from dataclasses import dataclass

import numpy as np

from jahslib.core.problem import Problem
from jahslib.core.trials import Suggestion, Trial
from jahslib.optimizers.hyperband import Brackets, Eta, Rung, Scheduled, placed, plan_for
from jahslib.optimizers.variation import newcomer


@dataclass
class _Halving(Scheduled):
    """Random newcomers under a schedule."""

    eta: Eta = 3
    min_fidelity: float | None = None

    def __post_init__(self):
        super().__post_init__()
        self._plan = plan_for(self.problem, self.eta, self.min_fidelity)

    def newcomer(self) -> Suggestion | None:
        rng = np.random.default_rng([self.seed, len(self._history.suggestions)])
        return newcomer(self.problem, self._history, rng)


class Hyperband(_Halving):
    """Random configurations competing in the brackets of Hyperband's plan.

    Raises:
        UserError: there is no such plan.
    """

    def start(self) -> None:
        self.schedule = Brackets(self.problem, self._plan)


class ASHA(_Halving):
    """Asynchronous successive halving: immediate promotion from the top 1/eta of a rung, so that no worker ever waits.

    Raises:
        UserError: there are no such rungs.
    """

    def start(self) -> None:
        self.schedule = _Ladder(self.problem, self._plan[0], self.eta)


class _Ladder:
    """Rungs of unlimited size, as the one bracket 0; a schedule as `Brackets`."""

    def __init__(self, problem: Problem, rungs: list[Rung], eta: int):
        self.problem, self.rungs, self.eta = problem, rungs, eta
        # Of each rung the results, best first, and a heap of those that may be promoted.
        self._results: list[list[tuple]] = [[] for _ in rungs]
        self._waiting: list[list[tuple]] = [[] for _ in rungs]
        self._promoted: set[int] = set()

    def promotion(self, least: int = 0) -> Suggestion | None:
        """Suggest the best result not yet promoted of the highest rung where it is in the top 1/eta, or `least`."""
        for level in range(len(self.rungs) - 1, 0, -1):
            waiting, results = self._waiting[level - 1], self._results[level - 1]
            while waiting and waiting[0][1] in self._promoted:
                heapq.heappop(waiting)
            if waiting and bisect_left(results, waiting[0][:2]) < max(least, len(results) // self.eta):
                return placed(waiting[0][2], 0, self.rungs, level)
        return None

    def last_promotion(self) -> Suggestion | None:
        """Suggest a promotion when there are no newcomers: at least the best of each rung goes on to the top."""
        return self.promotion(least=1)

    def newcomer(self, member: Suggestion) -> Suggestion:
        """Place a new configuration in the lowest rung."""
        return placed(member, 0, self.rungs)

    def suggested(self, suggestion: Suggestion) -> None:
        """Record that a suggestion became a trial."""
        if suggestion.parent is not None:
            self._promoted.add(suggestion.parent)

    def finished(self, trial: Trial) -> None:
        """Record a result, a warm start's too, in the rung of its fidelity."""
        level = next((level for level, rung in enumerate(self.rungs) if rung.fidelity == trial.fidelity), None)
        if level is None:
            return
        rank = self.problem.rank(trial)
        insort(self._results[level], (rank, trial.id))
        if trial.status == "ok" and not trial.final:
            heapq.heappush(self._waiting[level], (rank, trial.id, trial))
