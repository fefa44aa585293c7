"""Constrained evolution, with or without Hyperband: study 07's method for small budgets.

Study 07, section A5. The population is the best results so far, ranked with feasible ones first. Each child has its
parents in the current population, by recombination or mutation. With Hyperband, children compete in the brackets of its
plan, the first of which are drawn at random: they are the founders, trained only as far as they are promoted.
`Evolution.published` gives the original's method; see `jahslib.optimizers.published_evolution` for the differences.
"""

from bisect import insort
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jahslib.core.optimizer import Replayed
from jahslib.core.problem import Problem
from jahslib.core.trials import Configuration, Suggestion, Trial
from jahslib.errors import UserError
from jahslib.optimizers import variation
from jahslib.optimizers.hyperband import Brackets, brackets, checked_eta
from jahslib.optimizers.published_evolution import PublishedEvolution
from jahslib.spaces import configurations as spaces

ATTEMPTS = 1000


@dataclass
class Evolution(Replayed):
    """Steady-state evolution (EA), or with Hyperband EA-HB.

    Args:
        pop_size: the best results that may become parents; those of a higher fidelity come first. It takes nothing from
            the budget: while there are fewer results, all of them are the population.
        founders: random configurations before the first child; with Hyperband, the plan's first bracket instead.
        num_children: results after which the population is renewed.
        hyperband: send children through Hyperband's brackets instead of training all to the end.
        eta, min_fidelity: of the Hyperband plan; None is the problem's own minimum.
        p_mutation: probability that a child is a mutation of one parent; otherwise it is a recombination of two.
        parent_selection: "tournament" takes the best of two draws, "neutral" any member.
        frozen: hyperparameters that recombination leaves as the first parent has them.

    Nothing is proposed twice except to continue it, nor what violates a constraint known before training. When 1,000
    children and then 10,000 random draws give nothing new, the search is done.

    Raises:
        UserError: a space without named hyperparameters or with forbidden clauses, no population, founders or
            children, an unknown selection, no probability, or no Hyperband plan.
    """

    problem: Problem
    seed: int
    pop_size: int = 3
    founders: int = 10
    num_children: int = 1
    hyperband: bool = False
    eta: int = 3
    min_fidelity: float | None = None
    p_mutation: float = 0.5
    parent_selection: Literal["tournament", "neutral"] = "tournament"
    frozen: tuple[str, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        spaces.refuse_others(self.problem.space, "evolution")
        self._refuse_no_count("evolution", "pop_size", "founders", "num_children")
        if not 0 <= self.p_mutation <= 1:
            raise UserError(f"evolution: p_mutation={self.p_mutation}; give a probability")
        self.eta = checked_eta(self.eta)
        self._plan = brackets(self.problem, self.eta, self.min_fidelity) if self.hyperband else []

    @staticmethod
    def published(problem: Problem, seed: int, **settings: Any) -> PublishedEvolution:
        """Build the original's method, with its settings."""
        return PublishedEvolution(problem, seed, **settings)

    # The method --------------------------------------------------------------------------------------------------

    def propose(self) -> Suggestion | None:
        if self.hyperband and (promotion := self._brackets.promotion()):
            return promotion
        rng = np.random.default_rng([self.seed, len(self._history.suggestions)])
        founding = not self._brackets.filling if self.hyperband else len(self._history.suggestions) < self.founders
        child, origin = None if founding else self._child(rng), "variation"
        if child is None:
            child, origin = spaces.sample_where(self.problem.space, rng, self._fresh), "random"
        if child is None:
            return None
        if self.hyperband:
            return self._brackets.newcomer(child, origin)
        return Suggestion(child, self.problem.fidelity.high, origin=origin)

    def _child(self, rng: np.random.Generator) -> Configuration | None:
        population = self._population
        for _ in range(ATTEMPTS if population else 0):
            child = self._varied(self._parent(population, rng), population, rng)
            if self._fresh(child):
                return child
        return None

    def _varied(self, parent: Configuration, population: list[Trial], rng: np.random.Generator) -> Configuration:
        if rng.random() < self.p_mutation:
            return self.mutate(parent, rng)
        child = self.recombine(parent, self._parent(population, rng), rng)
        return self.mutate(child, rng) if child == parent or rng.random() < 0.5 else child

    def _parent(self, population: list[Trial], rng: np.random.Generator) -> Configuration:
        draws = 2 if self.parent_selection == "tournament" else 1
        return population[rng.integers(len(population), size=draws).min()].configuration

    def _fresh(self, configuration: Configuration) -> bool:
        return not self._history.has(configuration) and self.problem.admits(configuration)

    def mutate(self, parent: Configuration, rng: np.random.Generator) -> Configuration:
        """Mutate a configuration; see `variation.mutate`."""
        return variation.mutate(self.problem.space, parent, rng)

    def recombine(self, parent: Configuration, partner: Configuration, rng: np.random.Generator) -> Configuration:
        """Recombine two configurations; see `variation.recombine`."""
        return variation.recombine(self.problem.space, parent, partner, rng, self.frozen)

    # The population ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._brackets = Brackets(self.problem, self._plan)
        self._best: dict[float, list[tuple]] = {}  # by fidelity: (rank, id, trial), best first, at most pop_size
        self._population: list[Trial] = []
        self._results = 0

    def rederives(self) -> bool:
        return False  # the state depends only on what it was told

    def accept(self, trial_id: int) -> None:
        self.adopt(trial_id, self._history.suggestions[trial_id])

    def adopt(self, trial_id: int, suggestion: Suggestion) -> None:
        self._brackets.suggested(suggestion)

    def observe(self, trial: Trial) -> None:
        self._brackets.finished(trial)
        best = self._best.setdefault(trial.fidelity, [])
        insort(best, (self._brackets.rank(trial), trial.id, trial))
        del best[self.pop_size :]
        if trial.parent is not None:  # superseded by this result
            for members in self._best.values():
                members[:] = [member for member in members if member[1] != trial.parent]
        self._results += 1
        if self._results % self.num_children == 0:
            order = [member for fidelity in sorted(self._best, reverse=True) for member in self._best[fidelity]]
            self._population = [trial for _, _, trial in order[: self.pop_size]]
