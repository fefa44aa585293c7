"""Random search at the highest fidelity."""

from dataclasses import dataclass

import numpy as np

from jahslib.core.optimizer import Described
from jahslib.core.problem import Problem
from jahslib.core.trials import History, Suggestion
from jahslib.optimizers.variation import newcomer


@dataclass
class RandomSearch(Described):
    """Random draws from the space's priors, without repetition; see `newcomer`."""

    problem: Problem
    seed: int

    def ask(self, history: History) -> Suggestion | None:
        return newcomer(self.problem, history, np.random.default_rng([self.seed, len(history.suggestions)]))
