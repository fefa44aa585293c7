"""Random search at the highest fidelity."""

from dataclasses import dataclass

import numpy as np

from jahslib.core.optimizer import Described
from jahslib.core.problem import Problem
from jahslib.core.trials import History, Suggestion
from jahslib.spaces import configurations as spaces


@dataclass
class RandomSearch(Described):
    """Random draws from the space's priors, without repetition.

    Only configurations that meet the constraints known before training are drawn. It is done when 10,000 draws give
    nothing new: the space is exhausted, or the constraints are impossible.
    """

    problem: Problem
    seed: int

    def ask(self, history: History) -> Suggestion | None:
        rng = np.random.default_rng([self.seed, len(history.suggestions)])
        configuration = spaces.sample_where(
            self.problem.space, rng, lambda c: not history.has(c) and self.problem.admits(c)
        )
        return None if configuration is None else Suggestion(configuration, self.problem.fidelity.high, origin="random")
