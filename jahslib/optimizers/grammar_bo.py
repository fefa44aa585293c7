"""Bayesian optimisation over a grammar space, alone or with ordinary hyperparameters.

Schrodi et al., NeurIPS 2023 (arXiv 2211.01842), sections 4 and 5: a Gaussian process with the (hierarchical) WL kernel,
expected improvement, and evolution to maximise it. Departures: pending trials enter as fantasies of the one fitted
model (theirs fits a second time), each fit of the noise starts anew, so that the history alone decides, and no point is
proposed twice. What the original's selection does by mistake is an option (`jahslib.optimizers.acquisition_pool`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np

from jahslib.core.optimizer import Described
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.errors import Bounds, Count, Share, UserError
from jahslib.optimizers import acquisition_pool
from jahslib.spaces import configurations as spaces
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.space import GrammarSpace, Point
from jahslib.surrogates import gp
from jahslib.surrogates.wl import TermTable, folding_levels

N_BEST = 10
SURROGATES = ("gp_hierarchical", "gp")

# For grammars up to this size the label counts of all terms are cached: a second and some megabytes.
SMALL = 20_000


@dataclass
class GrammarBO(Described):
    """Bayesian optimisation with evolution as its acquisition optimizer.

    Args:
        surrogate_model: "gp_hierarchical" has the hierarchical WL kernel, "gp" the WL kernel of the full graphs.
        n_init: random trials before the model is used.
        pool_strategy: how the acquisition is maximised: "evolution", "mutation" of the best, or a "random" pool.
        pool_size: points of a pool (of each generation, in an evolution).
        generations: least and largest number of generations of the evolution.
        p_self_crossover: share of crossovers of a parent with itself.
        mutate_size: mutants in a pool by mutation, the rest being random; None is all of it.
        log_objective: model the logarithm of the cost (of `cost + 1e-8`).
        random_interleave_prob: share of proposals that are random.
        maximum_noise: bound on the variance of the noise, relative to that of the observations.
        no_isomorphism: propose no architecture whose graph WL cannot tell from a trial's, whatever its hyperparameters.
        original_selection: see `acquisition_pool.evolved`.

    An infeasible or failed trial counts as `Problem.penalised_cost`. Results below the highest fidelity, which a warm
    start may bring, are not comparable and do not count.

    Raises:
        UserError: the space is not a grammar's, or a setting is out of its range.
    """

    surrogate_model: Literal["gp_hierarchical", "gp"] = "gp_hierarchical"
    n_init: Count = 10
    pool_strategy: Literal["evolution", "mutation", "random"] = "evolution"
    pool_size: Annotated[int, Bounds(2)] = 200
    generations: tuple[int, int] = (10, 50)
    p_self_crossover: Share = 0.5
    mutate_size: Annotated[int, Bounds(0)] | None = None
    log_objective: bool = True
    random_interleave_prob: Share = 0.0
    maximum_noise: Annotated[float, Bounds(gp.NOISE[0], 10)] = 0.5
    no_isomorphism: bool = False
    original_selection: bool = False

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.problem.space, GrammarSpace):
            raise UserError(
                "grammar BO: the problem's space is no GrammarSpace; use Ax or BOHB for a ConfigurationSpace"
            )
        low, high = self.generations
        if not 0 <= low <= high:
            raise UserError(f"grammar BO: generations={low} to {high}; give 0 <= the least <= the most")
        if self.mutate_size is not None and self.mutate_size > self.pool_size:
            raise UserError(f"grammar BO: mutate_size={self.mutate_size}; give 0 to pool_size={self.pool_size}")

    @property
    def space(self) -> GrammarSpace:
        """The problem's grammar space."""
        return self.problem.space  # type: ignore[return-value]

    def ask(self, history: History) -> Suggestion | None:
        rng = np.random.default_rng([self.seed, len(history.suggestions)])
        told = self._told(history)
        seen = {self.space.point(s.configuration) for s in history.suggestions if self.problem.is_full(s)}
        point = None
        if told and len(told) + len(history.pending) >= self.n_init and rng.random() >= self.random_interleave_prob:
            point = self._maximise(told, self.surrogate(history), seen, rng)
        configuration = None if point is None else point.configuration
        if configuration is None:
            configuration = spaces.sample_where(
                self.space, rng, lambda c: self.space.point(c) not in seen and self.problem.admits(c)
            )
        return None if configuration is None else Suggestion(configuration, self.problem.fidelity.high)

    def _told(self, history: History) -> list[Trial]:
        return [t for t in history if t.status != "rejected" and self.problem.is_full(t)]

    def surrogate(self, history: History) -> gp.Surrogate:
        """Fit the model to a history with at least one full training; pending ones are fantasies."""
        told = self._told(history)
        points = [self.space.point(t.configuration) for t in told]
        costs = np.array([self.problem.penalised_cost(t) for t in told])
        pending = [self.space.point(s.configuration) for s in history.pending.values() if self.problem.is_full(s)]
        return gp.fit(
            shared_table(self.space.grammar, self.surrogate_model == "gp_hierarchical"),
            [p.term for p in points],
            np.log(costs + 1e-8) if self.log_objective else costs,
            self.space.columns(points),
            maximum_noise=self.maximum_noise,
        ).fantasised([p.term for p in pending], self.space.columns(pending) if pending else None)

    def _maximise(
        self, told: list[Trial], surrogate: gp.Surrogate, seen: set[Point], rng: np.random.Generator
    ) -> Point | None:
        """Find the best new point of the pool; None if it has none."""
        best = sorted(told, key=self.problem.rank)[:N_BEST]
        parents = list(dict.fromkeys(self.space.point(t.configuration) for t in best))
        known = [p.term for p in seen]

        def acquisition(points: Sequence[Point]) -> np.ndarray:
            values = surrogate.log_expected_improvement([p.term for p in points], self.space.columns(list(points)))
            return np.where(self._refused(points, surrogate.table, known), -np.inf, values)

        scored = acquisition_pool.Scored(acquisition, seen)
        if self.pool_strategy == "evolution":
            acquisition_pool.evolved(
                self.space,
                parents,
                scored,
                rng,
                size=self.pool_size,
                generations=self.generations,
                p_self_crossover=self.p_self_crossover,
                original_selection=self.original_selection,
            )
        else:
            mutants = self.pool_size if self.mutate_size is None else self.mutate_size
            if self.pool_strategy == "random":
                mutants = 0
            acquisition_pool.mutated(self.space, parents, scored, rng, size=self.pool_size, mutants=mutants)
        return scored.best

    def _refused(self, points: Sequence[Point], table: TermTable, known: list) -> np.ndarray:
        """Mark points that violate a constraint known before training, or repeat a graph that may not be repeated."""
        refused = np.zeros(len(points), dtype=bool)
        if self.problem.constraints:
            refused |= [not self.problem.admits(p.configuration) for p in points]
        if self.no_isomorphism:
            with table.borrowed([*known, *(p.term for p in points)]) as ids:
                alike = table.similarity(0, table.h[0], ids[len(known) :], ids[: len(known)])
            refused |= np.isclose(alike.max(axis=1), 1.0, rtol=0, atol=1e-12)
        return refused


@lru_cache(maxsize=8)
def shared_table(grammar: Grammar, hierarchical: bool) -> TermTable:
    """Return one table of label counts for all searches over a grammar; it is only a cache."""
    table = TermTable(grammar, folding_levels(grammar) if hierarchical else ())
    if grammar.count(cap=SMALL + 1) <= SMALL:
        table.index(list(grammar.enumerate(SMALL)))
    return table
