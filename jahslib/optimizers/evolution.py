"""Constrained evolution, with or without Hyperband: study 07's method for small budgets.

Study 07, section A5. The population is the best results so far, ranked with feasible ones first. Each child has its
parents in the current population, by recombination or mutation. With Hyperband, children compete in the brackets of its
plan, the first of which are drawn at random: they are the founders, trained only as far as they are promoted.
`jahslib.optimizers.published_evolution` has the original's method, and the differences.
"""

from bisect import insort
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jahslib.core.trials import Configuration, Suggestion, Trial
from jahslib.errors import Count, Share, refuse_unknown
from jahslib.optimizers import variation
from jahslib.optimizers.hyperband import Brackets, Eta, Scheduled, plan_for
from jahslib.spaces import configurations as spaces


@dataclass
class Evolution(Scheduled):
    """Steady-state evolution (EA), or with Hyperband EA-HB.

    Args:
        pop_size: the best results that may become parents; those of a higher fidelity come first. It takes nothing from
            the budget: while there are fewer results, all of them are the population.
        founders: random configurations before the first child; with Hyperband, the plan's first bracket instead.
        num_children: results after which the population is renewed.
        hyperband: send children through Hyperband's brackets instead of training all to the end.
        eta, min_fidelity: of the Hyperband plan; None is the problem's own minimum.
        p_mutation: probability that a child is a mutation of one parent; otherwise it is a recombination of two, which
            is mutated in half of the cases, and wherever it equals the first parent.
        parent_selection: "tournament" takes the best of two draws, "neutral" any member.
        frozen: hyperparameters that recombination leaves as the first parent has them.

    Nothing is proposed twice except to continue it, nor what violates a constraint known before training; see
    `variation.newcomer`.

    Raises:
        UserError: a space without named hyperparameters or with forbidden clauses, no population, founders or
            children, an unknown selection or hyperparameter, no probability, or no Hyperband plan.
    """

    pop_size: Count = 3
    founders: Count = 10
    num_children: Count = 1
    hyperband: bool = False
    eta: Eta = 3
    min_fidelity: float | None = None
    p_mutation: Share = 0.5
    parent_selection: Literal["tournament", "neutral"] = "tournament"
    frozen: tuple[str, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        spaces.refuse_others(self.problem.space, "evolution")
        refuse_unknown("Evolution: frozen: hyperparameter", self.frozen, self.problem.space)  # type: ignore[arg-type]
        plan = plan_for(self.problem, self.eta, self.min_fidelity)
        self._plan = plan if self.hyperband else []

    # The method --------------------------------------------------------------------------------------------------

    def newcomer(self) -> Suggestion | None:
        asked = len(self._history.suggestions)
        rng = np.random.default_rng([self.seed, asked])
        founding = not self.schedule.filling if self.hyperband else asked < self.founders
        child = None if founding or not self._population else lambda: self._child(rng)
        return variation.newcomer(self.problem, self._history, rng, child)

    def _child(self, rng: np.random.Generator) -> Configuration:
        space, parent = self.problem.space, self._parent(rng)
        if rng.random() < self.p_mutation:
            return variation.mutate(space, parent, rng)
        child = variation.recombine(space, parent, self._parent(rng), rng, self.frozen)
        return variation.mutate(space, child, rng) if child == parent or rng.random() < 0.5 else child

    def _parent(self, rng: np.random.Generator) -> Configuration:
        draws = 2 if self.parent_selection == "tournament" else 1
        return self._population[rng.integers(len(self._population), size=draws).min()].configuration

    # The population ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.schedule = Brackets(self.problem, self._plan)
        self._best: dict[float, list[tuple]] = {}  # by fidelity: (rank, id, trial), best first, at most pop_size
        self._population: list[Trial] = []
        self._results = 0

    def observe(self, trial: Trial) -> None:
        super().observe(trial)
        best = self._best.setdefault(trial.fidelity, [])
        insort(best, (self.schedule.rank(trial), trial.id, trial))
        del best[self.pop_size :]
        if trial.parent is not None:  # superseded by this result
            for members in self._best.values():
                members[:] = [member for member in members if member[1] != trial.parent]
        self._results += 1
        if self._results % self.num_children == 0:
            order = [member for fidelity in sorted(self._best, reverse=True) for member in self._best[fidelity]]
            self._population = [trial for _, _, trial in order[: self.pop_size]]
