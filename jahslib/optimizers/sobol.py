"""Quasi-random search: the points of a scrambled Sobol sequence, mapped to the space.

Source: I. M. Sobol', USSR Computational Mathematics and Mathematical Physics 7(4), 1967; scrambled after Matoušek
(Journal of Complexity 14, 1998) by scipy, so that seeds differ.
"""

from collections.abc import Iterator

from scipy.stats import qmc

from jahslib.core.optimizer import Described
from jahslib.core.trials import Configuration, History, Suggestion
from jahslib.spaces import configurations as spaces

BLOCK = 64  # a power of two, as the sequence's balance needs
ATTEMPTS = 10_000


class Sobol(Described):
    """The points of a Sobol sequence in turn at the highest fidelity, without repetition.

    Points that violate a constraint known before training are skipped; when 10,000 in a row are, or repeat themselves,
    the search is done.

    Raises:
        UserError: as `refuse_unbounded`.
    """

    def __post_init__(self):
        super().__post_init__()
        spaces.refuse_unbounded(self.problem.space, "Sobol")
        self._history, self._next = None, None

    def ask(self, history: History) -> Suggestion | None:
        """Propose the first point that the history does not hold yet; see `Optimizer.ask`."""
        if history is not self._history:
            self._history, self._further = history, self._sequence()
            self._next = next(self._further, None)
        while self._next is not None and history.has(self._next):
            self._next = next(self._further, None)
        return None if self._next is None else Suggestion(self._next, self.problem.fidelity.high, origin="initial")

    def _sequence(self) -> Iterator[Configuration]:
        engine = qmc.Sobol(len(self.problem.space), scramble=True, rng=self.seed)
        seen, fruitless = set(), 0
        while fruitless < ATTEMPTS:
            for point in engine.random(BLOCK):
                configuration = spaces.from_unit(self.problem.space, point.tolist())
                tried = spaces.key(configuration)
                fruitless += 1
                if tried not in seen and self.problem.admits(configuration):
                    fruitless = 0
                    seen.add(tried)
                    yield configuration
