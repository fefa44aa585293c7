"""Maximisation of an acquisition function over a grammar space.

Schrodi et al., NeurIPS 2023 (arXiv 2211.01842), section 5: evolution of a pool that starts from the best observed
points and random ones; Ru et al., ICLR 2021 (arXiv 2006.07556): mutations of the best, or a random pool.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from jahslib.spaces.grammars.garbage import collector_paused
from jahslib.spaces.grammars.space import GrammarSpace, Point

TOURNAMENT = 0.2
P_CROSSOVER = 0.5
UNCHANGED = 5  # generations without a better point that end the evolution

Acquisition = Callable[[Sequence[Point]], np.ndarray]


@dataclass
class Scored:
    """A cached acquisition function that remembers the best point not in `seen`.

    Larger is better; -inf excludes a point.
    """

    acquisition: Acquisition
    seen: set[Point]
    best: Point | None = None
    best_value: float = -np.inf
    _known: dict[Point, float] = field(default_factory=dict)

    def __call__(self, points: Sequence[Point]) -> np.ndarray:
        new = [p for p in dict.fromkeys(points) if p not in self._known]
        if new:
            self._known.update(zip(new, self.acquisition(new).tolist(), strict=True))
            for point in new:
                if self._known[point] > self.best_value and point not in self.seen:
                    self.best, self.best_value = point, self._known[point]
        return np.array([self._known[p] for p in points])


@collector_paused()
def evolved(
    space: GrammarSpace,
    parents: Sequence[Point],
    scored: Scored,
    rng: np.random.Generator,
    *,
    size: int = 200,
    generations: tuple[int, int] = (10, 50),
    p_self_crossover: float = 0.5,
    original_selection: bool = False,
) -> None:
    """Evolve `parents`, filled up with random points to `size`, generation by generation.

    The two best of a tournament (a fifth of the pool, with replacement) are crossed with probability 1/2, the better
    one with itself in a share `p_self_crossover` of these; else the better one is mutated. At least the smaller number
    of `generations`; then, until the larger, as long as one of the last five found a better point.

    `original_selection`: from the second generation on, each point is selected by the value of its predecessor in the
    pool, the first by the best value so far. The original's code does so by mistake: it puts that value in front and
    continues to index by position in the pool. That leaves hardly any selection.
    """
    population = [*parents[:size], *(space.draw(rng) for _ in range(size - len(parents)))]
    values = scored(population)
    bests = [scored.best_value]
    while len(bests) <= generations[1] and not (len(bests) > generations[0] and _settled(bests)):
        if original_selection and len(bests) > 1:
            values = np.concatenate([[scored.best_value], values[:-1]])
        children = _offspring(space, population, values, rng, p_self_crossover)
        population = [next(children) for _ in range(size)]
        values = scored(population)
        bests.append(scored.best_value)


def _settled(bests: list[float]) -> bool:
    """Tell whether none of the last five generations has improved the best value.

    Also true while nothing new was found.
    """
    return len(bests) > UNCHANGED and bool(np.isclose(bests[-UNCHANGED - 1 : -1], bests[-1]).all())


def _offspring(
    space: GrammarSpace, population: list[Point], values: np.ndarray, rng: np.random.Generator, p_self: float
) -> Iterator[Point]:
    """Yield offspring forever: mutations, and both children of each crossover.

    Where crossover finds no children, the better parent is mutated.
    """
    drawn = max(2, round(TOURNAMENT * len(population)))
    while True:
        tournament = rng.integers(len(population), size=drawn)
        best, second = (population[i] for i in tournament[np.argsort(-values[tournament], kind="stable")[:2]])
        pair = None
        if rng.random() < P_CROSSOVER:
            pair = space.cross(best, best if rng.random() < p_self else second, rng)
        yield from pair or (space.vary(best, rng),)


def mutated(
    space: GrammarSpace, parents: Sequence[Point], scored: Scored, rng: np.random.Generator, *, size: int, mutants: int
) -> None:
    """Score `mutants` mutations of the parents in turn, filled up with random points to `size`."""
    children = [space.vary(parents[i % len(parents)], rng) for i in range(mutants)]
    scored([*children, *(space.draw(rng) for _ in range(size - mutants))])
