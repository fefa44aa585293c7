"""Regularized evolution: tournament, mutation, and the oldest of the population dies.

Real et al., AAAI 2019 (arXiv 1802.01548); population and tournament as in Schrodi et al., NeurIPS 2023 (arXiv
2211.01842). The population is the last finished trials, so it needs no state of its own, and any number of workers.
"""

from dataclasses import dataclass

import numpy as np

from jahslib import spaces
from jahslib.errors import UserError
from jahslib.optimizers.replayed import Described
from jahslib.problem import Configuration, Problem
from jahslib.trials import History, Suggestion

ATTEMPTS = 1000


@dataclass
class RegularizedEvolution(Described):
    """Evolution whose population is the trials that finished last.

    Args:
        pop_size: the trials that may become parents, those that finished last; as many are drawn at random first.
        tournament_size: draws with replacement from the population; the best drawn (`Problem.rank`) is the parent.

    One mutation makes the child: of the term where the space is a grammar's (`GrammarSpace.mutate`), else one
    hyperparameter drawn afresh. Nothing is proposed twice, nor what breaks a constraint known before training: another
    tournament is held. When 1,000 of them and then 10,000 random draws bring nothing new, the search is done.

    Raises:
        UserError: a population or tournament below 1, or a space with forbidden clauses.
    """

    problem: Problem
    seed: int
    pop_size: int = 30
    tournament_size: int = 10

    def __post_init__(self):
        super().__post_init__()
        spaces.refuse_forbidden_clauses(self.problem.space, "regularized evolution")
        if self.pop_size < 1 or self.tournament_size < 1:
            raise UserError(
                f"regularized evolution: pop_size={self.pop_size}, tournament_size={self.tournament_size}; "
                "both must be at least 1"
            )

    def ask(self, history: History) -> Suggestion | None:
        rng = np.random.default_rng([self.seed, len(history.suggestions)])
        seen = {spaces.key(s.configuration) for s in history.suggestions}

        def fresh(configuration: Configuration) -> bool:
            return spaces.key(configuration) not in seen and self.problem.admits(configuration)

        child = self._child(history, rng, fresh) or spaces.sample_where(self.problem.space, rng, fresh)
        return None if child is None else Suggestion(child, self.problem.fidelity.high)

    def _child(self, history: History, rng: np.random.Generator, fresh) -> Configuration | None:
        trained = [t for t in history if t.status != "rejected"]
        founders = len(trained) + len(history.pending)
        if not trained or founders < self.pop_size:
            return None
        population = sorted(trained[-self.pop_size :], key=self.problem.rank)
        for _ in range(ATTEMPTS):
            parent = population[rng.integers(len(population), size=self.tournament_size).min()]
            child = spaces.mutate(self.problem.space, parent.configuration, rng)
            if fresh(child):
                return child
        return None
