"""Constrained evolution exactly as in study 07's original, for comparison and for its logs.

A (mu + lambda) strategy in generations. Unlike in `Evolution`, founders are trained at the highest fidelity before
anything evolves, and the population is renewed only after all brackets of a Hyperband iteration. Fidelities are rounded
down: the last rungs may end below the highest one, and their trials are then no incumbents. Configurations may be
proposed again, what becomes active starts at the space's default, and layer counts are not exchanged.

Departures from the original, each with its option: `continuation` of the training belongs to the problem; parents may
also be picked by tournament, which the original's slides describe and its code does not do.
"""

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jahslib.core.optimizer import Replayed
from jahslib.core.trials import Configuration, Suggestion, Trial
from jahslib.errors import Count, Share
from jahslib.optimizers.hyperband import Eta, placed, plan_for
from jahslib.spaces import configurations as spaces

Steps = Generator[list[Suggestion], list[Trial], list[Trial]]  # yields batches, receives their trials in order
ATTEMPTS = 10_000


@dataclass
class PublishedEvolution(Replayed):
    """EA, or with Hyperband EA-HB, in generations; describes itself as the logs' `Evolution`.

    The settings are `Evolution`'s, but: `pop_size` is mu, the members kept; `num_children` lambda, the children of a
    plain step (with Hyperband the plan sets their number); "neutral" draws parents without replacement; recombination
    never exchanges `frozen` hyperparameters.

    Raises:
        UserError: as `Evolution`.
    """

    pop_size: Count = 50
    num_children: Count = 10
    hyperband: bool = False
    eta: Eta = 2
    min_fidelity: float | None = None
    p_mutation: Share = 0.5
    parent_selection: Literal["neutral", "tournament"] = "neutral"
    frozen: tuple[str, ...] = ("n_conv_layers", "n_fc_layers")

    def __post_init__(self):
        super().__post_init__()
        spaces.refuse_others(self.problem.space, "evolution")
        self._plan = plan_for(self.problem, self.eta, self.min_fidelity, rounding="published") if self.hyperband else []

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "name": "Evolution"}

    # The method --------------------------------------------------------------------------------------------------

    def evolve(self, rng: np.random.Generator) -> Steps:
        """Run the whole search."""
        founders = [self._admitted(lambda: spaces.sample(self.problem.space, rng)) for _ in range(self.pop_size)]
        if None in founders:
            return []
        grown, population, step = (yield self._full(founders)), [], 0
        while True:
            # the mu best: feasible members by objective, then infeasible ones by violation
            population = sorted(population + grown, key=self.problem.rank)[: self.pop_size]
            if self.hyperband:
                grown = yield from self._hyperband_step(population, step, rng)
            else:
                grown = yield self._full(self._children(population, self.num_children, rng))
            step += 1

    def _full(self, configurations: list) -> list[Suggestion]:
        return [Suggestion(c, self.problem.fidelity.high) for c in configurations]

    def _hyperband_step(self, population: list[Trial], step: int, rng: np.random.Generator) -> Steps:
        grown: list[Trial] = []
        for number, rungs in enumerate(self._plan, start=step * len(self._plan)):
            members, trained = self._full(self._children(population, rungs[0].members, rng)), []
            for level, rung in enumerate(rungs):
                if not members:  # the whole rung failed
                    break
                trained = yield [placed(member, number, rungs, level) for member in members[: rung.members]]
                members = sorted((t for t in trained if t.status == "ok"), key=self.problem.rank)
            grown += [t for t in trained if t.final]
        return grown

    # Variation ---------------------------------------------------------------------------------------------------

    def _children(self, population: list[Trial], count: int, rng: np.random.Generator) -> list[Configuration]:
        parents = [p.configuration for p in self._parents(population, count, rng)]
        children = []
        for parent in parents:
            if rng.random() < self.p_mutation:
                children.append(self.mutate(parent, rng))
            else:
                partner = parents[rng.integers(len(parents))]
                children.append(self._admitted(lambda a=parent, b=partner: self.recombine(a, b, rng)) or parent)
        return children

    def _parents(self, population: list[Trial], count: int, rng: np.random.Generator) -> list[Trial]:
        """Draw parents from `population`, sorted best first; neutral draws begin anew when all of it was drawn."""
        if self.parent_selection == "tournament":
            return [population[rng.integers(len(population), size=2).min()] for _ in range(count)]
        rounds = -(-count // len(population))
        order = np.concatenate([rng.permutation(len(population)) for _ in range(rounds)])
        return [population[i] for i in order[:count]]

    def mutate(self, parent: Configuration, rng: np.random.Generator) -> Configuration:
        """Resample one gene from its prior; repeat on the child while a constraint is violated."""
        child = dict(parent)
        for _ in range(ATTEMPTS):
            child = spaces.mutate(self.problem.space, child, rng)
            if self.problem.admits(child):
                return child
        return parent

    def recombine(self, parent: Configuration, partner: Configuration, rng: np.random.Generator) -> Configuration:
        """Cross uniformly the genes active in both, except the `frozen` ones (the layer counts)."""
        child = dict(parent)
        for gene in sorted(set(parent) & set(partner) - set(self.frozen)):
            if rng.random() < 0.5:
                child[gene] = partner[gene]
        return spaces.complete(self.problem.space, child)

    def _admitted(self, draw: Callable[[], Configuration]) -> Configuration | None:
        return spaces.first_of(draw, self.problem.admits, ATTEMPTS)

    # Ask and tell ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._search = self.evolve(np.random.default_rng(self.seed))
        self._open_batch(next(self._search, []))

    def propose(self) -> Suggestion | None:
        return self._queue[0] if self._queue else None

    def adopt(self, trial_id: int, suggestion: Suggestion) -> None:
        if self._queue and _place(suggestion) == _place(self._queue[0]):
            self._queue.popleft()
            self._ids.append(trial_id)

    def observe(self, trial: Trial) -> None:
        if trial.id not in self._ids:  # a warm start's, at another fidelity
            return
        self._done[trial.id] = trial
        if not self._queue and len(self._done) == len(self._ids):
            self._open_batch(self._search.send([self._done[trial_id] for trial_id in self._ids]))

    def _open_batch(self, batch: list[Suggestion]) -> None:
        self._queue, self._ids, self._done = deque(batch), [], {}


def _place(suggestion: Suggestion) -> tuple:
    return suggestion.fidelity, suggestion.bracket, suggestion.rung
