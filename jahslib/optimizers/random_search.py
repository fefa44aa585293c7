"""Random search at the highest fidelity."""

import numpy as np

from jahslib.core.optimizer import Described
from jahslib.core.trials import History, Suggestion
from jahslib.optimizers.variation import newcomer


class RandomSearch(Described):
    """Random draws from the space's priors, without repetition; see `newcomer`."""

    def ask(self, history: History) -> Suggestion | None:
        return newcomer(self.problem, history, np.random.default_rng([self.seed, len(history.suggestions)]))
