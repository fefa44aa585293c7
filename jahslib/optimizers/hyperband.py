"""Hyperband's rung plan, its brackets, and the base of the methods that work through brackets.

Li et al., JMLR 18(185), 2018. A plan's last rungs end at the problem's highest fidelity exactly, since only a trial
trained so far can be the incumbent. Where fidelities are whole numbers, the lower rungs are rounded to the nearest.
"""

import math
from abc import abstractmethod
from bisect import insort
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from jahslib.core.optimizer import Replayed
from jahslib.core.problem import Problem
from jahslib.core.trials import Suggestion, Trial
from jahslib.errors import Bounds, UserError, bounded

Eta = Annotated[int, Bounds(2)]  # the reduction factor


@dataclass(frozen=True)
class Rung:
    """A number of members trained to a fidelity."""

    members: int
    fidelity: float


def plan(
    low: float, high: float, eta: int = 2, *, rounding: Literal["exact", "published"] = "exact"
) -> list[list[Rung]]:
    """Plan one Hyperband iteration: brackets, most exploratory first, each a list of rungs.

    Bracket s of s_max + 1 (s_max is the largest with low * eta^s_max <= high) starts with
    ceil((s_max + 1) / (s + 1) * eta^s) members at high / eta^s; each rung keeps floor(n / eta) of them, at least one,
    and multiplies the fidelity by eta up to `high`. With two whole bounds the fidelities are rounded to whole ones:
    2..50 and eta 2 give 16@3, 8@6, 4@13, 2@25, 1@50.

    "published" is study 07's rounding: the first fidelity is rounded down and multiplied from there, so that a bracket
    may end below `high` (16@3, 8@6, 4@12, 2@24, 1@48). It is for whole fidelities.

    Raises:
        UserError: no `Eta`, no range, or the published rounding of fractions.
    """
    eta = bounded("hyperband: eta", eta, Eta)
    if not 0 < low <= high < math.inf:
        raise UserError(f"hyperband: fidelities {low}..{high} are no range; give 0 < low <= high")
    whole = isinstance(low, int) and isinstance(high, int)
    if rounding == "published" and not whole:
        raise UserError(f"hyperband: the published rounding of {low}..{high}; give whole fidelities, or 'exact'")
    s_max, slack = 0, 1 if whole else 1 + 1e-9  # of fractions' last digits: 0.1..0.9 has three levels
    while low * eta ** (s_max + 1) <= high * slack:  # math.log would round 3^5 down
        s_max += 1

    def fidelity(s: int, k: int) -> float:
        if rounding == "published":
            return high // eta**s * eta**k
        below = eta ** (s - k)
        return (2 * high + below) // (2 * below) if whole else high / below  # to the nearest, in whole numbers

    def members(s: int, k: int) -> int:
        return max(1, math.ceil((s_max + 1) * eta**s / (s + 1)) // eta**k)

    return [[Rung(members(s, k), fidelity(s, k)) for k in range(s + 1)] for s in range(s_max, -1, -1)]


def plan_for(problem: Problem, eta: int, min_fidelity: float | None, **options: Any) -> list[list[Rung]]:
    """Plan for a problem's fidelities, or those from `min_fidelity` on. Raises as `plan`."""
    fidelity = problem.fidelity.above(min_fidelity)
    return plan(fidelity.low, fidelity.high, eta, **options)


def placed(member: Suggestion, bracket: int, rungs: list[Rung], level: int = 0) -> Suggestion:
    """Suggest a newcomer, or the continuation of a trial, for a rung of a bracket."""
    return Suggestion(
        member.configuration,
        rungs[level].fidelity,
        parent=member.id if isinstance(member, Trial) else None,
        bracket=bracket,
        rung=level,
        final=level == len(rungs) - 1,
        origin=member.origin,
    )


class Scheduled(Replayed):
    """Base of methods that promote the trials that their schedule names, else propose new configurations.

    A schedule (`Brackets`) decides the fidelities; it places a `newcomer`, names a `promotion`, or the `last_promotion`
    when there are no newcomers, and is told what was `suggested` and has `finished`. All state depends only on what
    was told.
    """

    schedule: Any

    @abstractmethod
    def newcomer(self) -> Suggestion | None:
        """Propose a new configuration; None if there is none."""

    def propose(self) -> Suggestion | None:
        if promotion := self.schedule.promotion():
            return promotion
        new = self.newcomer()
        return self.schedule.last_promotion() if new is None else self.schedule.newcomer(new)

    def rederives(self) -> bool:
        return False

    def adopt(self, trial_id: int, suggestion: Suggestion) -> None:
        self.schedule.suggested(suggestion)

    def observe(self, trial: Trial) -> None:
        self.schedule.finished(trial)


@dataclass
class _Bracket:
    """A bracket in progress: its current rung, the members promoted into it (not the first), and their results."""

    rungs: list[Rung]
    level: int = 0
    promoted: list[Trial] = field(default_factory=list)
    asked: int = 0
    done: list[Trial] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.promoted) if self.level else self.rungs[0].members


class Brackets:
    """Hyperband's brackets, worked through in order; without any, newcomers stay as they are.

    A rung is promoted from when all of its trials have finished; while it waits for the slowest, members of the next
    bracket are proposed, so that no worker is idle. Promotion is decided by `rank`.
    """

    def __init__(self, problem: Problem, brackets: list[list[Rung]]):
        self.problem, self.plan = problem, brackets
        self.open: dict[int, _Bracket] = {}
        self.opened = 0  # brackets, the finished ones too
        self._fidelities = [rung.fidelity for rung in brackets[0]] if brackets else []
        self._constrained = {c.metric for c in problem.constraints}
        # Metric and rung's fidelity -> sorted factors by which continued trials have changed it up to the next rung.
        self._growth: dict[tuple[str, float], list[float]] = defaultdict(list)

    def promotion(self) -> Suggestion | None:
        """Suggest the best member not yet promoted, of the oldest bracket that has one."""
        for number, bracket in self.open.items():
            if bracket.level and bracket.asked < bracket.size:
                return placed(bracket.promoted[bracket.asked], number, bracket.rungs, bracket.level)
        return None

    def last_promotion(self) -> Suggestion | None:
        """Suggest the best member of the newest bracket, which no newcomer fills up any more; None while it trains."""
        number = self.opened - 1
        bracket = self.open.get(number)
        if bracket is None or bracket.level or len(bracket.done) < bracket.asked or len(bracket.rungs) == 1:
            return None
        best = self._best(bracket, 1)
        return placed(best[0], number, bracket.rungs, 1) if best else None

    def newcomer(self, member: Suggestion) -> Suggestion:
        """Place a new configuration in the lowest rung of the bracket that `filling` names."""
        return placed(member, self.filling, self._rungs(self.filling)) if self.plan else member

    @property
    def filling(self) -> int:
        """Number of the bracket that the next newcomer joins: the newest one, or a new one if that is full."""
        newest = self.open.get(self.opened - 1)
        return self.opened - bool(newest and not newest.level and newest.asked < newest.size)

    def _rungs(self, number: int) -> list[Rung]:
        return self.plan[number % len(self.plan)]

    def suggested(self, suggestion: Suggestion) -> None:
        """Record that a suggestion became a trial; a `last_promotion` ends its bracket's first rung."""
        number = suggestion.bracket
        if number is not None and number >= self.opened:
            self.opened = number + 1
            self.open[number] = _Bracket(self._rungs(number))
        if number in self.open and not self.open[number].level and suggestion.rung:
            self._promote(number)
        if number in self.open:
            self.open[number].asked += 1

    def finished(self, trial: Trial) -> None:
        """Record a result; a complete rung promotes its best."""
        bracket = None if trial.bracket is None else self.open.get(trial.bracket)
        if bracket is None:
            return
        for parent in bracket.promoted:
            if parent.id == trial.parent:
                self._compare(parent, trial)
        bracket.done.append(trial)
        if len(bracket.done) == bracket.size:
            self._promote(trial.bracket)

    def _promote(self, number: int) -> None:
        """Begin a bracket's next rung; the bracket is done after the last one, or if no trial succeeded."""
        bracket = self.open[number]
        bracket.level += 1
        if bracket.level < len(bracket.rungs):
            bracket.promoted, bracket.asked, bracket.done = self._best(bracket, bracket.level), 0, []
        if bracket.level == len(bracket.rungs) or not bracket.promoted:
            del self.open[number]

    def _best(self, bracket: _Bracket, level: int) -> list[Trial]:
        ok = sorted((t for t in bracket.done if t.status == "ok"), key=self.rank)
        return ok[: bracket.rungs[level].members]

    def rank(self, trial: Trial) -> tuple:
        """Rank as `Problem.rank`, with constrained metrics extrapolated to the highest fidelity.

        A training time within its limit after a third of the epochs may exceed it at the end. They grow by the median
        of the continued trials; without any, no growth is assumed.
        """
        if trial.status != "ok" or not self._constrained:
            return self.problem.rank(trial)
        expected = dict(trial.metrics)
        for metric in self._constrained & set(expected):
            for fidelity in self._fidelities:
                factors = self._growth.get((metric, fidelity))
                if fidelity >= trial.fidelity and factors:
                    expected[metric] *= factors[len(factors) // 2]
        return self.problem.rank(replace(trial, metrics=expected))

    def _compare(self, parent: Trial, trial: Trial) -> None:
        for metric in self._constrained:
            before, after = parent.metrics.get(metric, 0.0), trial.metrics.get(metric, 0.0)
            if before > 0 and after > 0:
                insort(self._growth[metric, parent.fidelity], after / before)
