"""Regularized (aging) evolution: tournament selection, mutation, removal of the oldest.

Real et al., AAAI 2019 (arXiv 1802.01548); population and tournament as in Schrodi et al., NeurIPS 2023 (arXiv
2211.01842). The population is the last finished trials, so it needs no state of its own, and any number of workers
may be used.
"""

from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from ConfigSpace import ConfigurationSpace

from jahslib.core.optimizer import Described
from jahslib.core.trials import Configuration, History, Suggestion
from jahslib.errors import Count
from jahslib.optimizers.variation import newcomer
from jahslib.spaces import configurations as spaces


@dataclass
class RegularizedEvolution(Described):
    """Evolution whose population is the trials that finished last.

    Args:
        pop_size: the full trainings that may become parents, those that finished last; as many are drawn at random
            first.
        tournament_size: draws with replacement from the population; the best drawn (`Problem.rank`) is the parent.
        newly_active: hyperparameters that a mutation makes active are "drawn" or start at their "default", as in the
            committed logs of study 08. It has no effect on a grammar's space and is then not in the description.

    One mutation makes the child: of the term where the space is a grammar's (`GrammarSpace.mutate`), else one
    hyperparameter is resampled. Nothing is proposed twice, nor what violates a constraint known before training:
    another tournament is held; see `newcomer`.

    Raises:
        UserError: a population or tournament below 1, or a space with forbidden clauses.
    """

    pop_size: Count = 30
    tournament_size: Count = 10
    newly_active: Literal["drawn", "default"] = "drawn"

    def __post_init__(self):
        super().__post_init__()
        spaces.refuse_forbidden_clauses(self.problem.space, "regularized evolution")

    def describe(self) -> dict[str, Any]:
        description = super().describe()
        if self.newly_active == "default" or not isinstance(self.problem.space, ConfigurationSpace):
            del description["newly_active"]  # absent from logs made before the option existed
        return description

    def ask(self, history: History) -> Suggestion | None:
        rng = np.random.default_rng([self.seed, len(history.suggestions)])
        newest = filter(self.problem.is_full, reversed(history.trained))  # a warm start may bring others
        trained = list(islice(newest, self.pop_size))
        if not trained or len(trained) + len(history.pending) < self.pop_size:
            return newcomer(self.problem, history, rng)
        population = sorted(reversed(trained), key=self.problem.rank)

        def child() -> Configuration:
            parent = population[rng.integers(len(population), size=self.tournament_size).min()]
            return spaces.mutate(self.problem.space, parent.configuration, rng, self.newly_active)

        return newcomer(self.problem, history, rng, child)
