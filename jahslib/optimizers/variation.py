"""New configurations: random ones, and children of earlier ones by mutation and recombination."""

import math
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import CategoricalHyperparameter, OrdinalHyperparameter

from jahslib.core.problem import Problem
from jahslib.core.trials import Configuration, History, Suggestion
from jahslib.spaces import configurations as spaces

ATTEMPTS = 1000  # children before a random configuration is drawn
STEP = 0.2  # median of a step's standard deviation, as a share of a number's range


def newcomer(
    problem: Problem,
    history: History,
    rng: np.random.Generator,
    child: Callable[[], Configuration] | None = None,
) -> Suggestion | None:
    """Suggest a configuration that is not in the history, for the highest fidelity.

    It meets the constraints known before training. It is a `child` or, without any new one of 1,000, a random draw;
    None when 10,000 draws give nothing new either: the space is exhausted, as a small one soon is known to be, or the
    constraints are impossible.
    """

    def is_new(configuration: Configuration) -> bool:
        return not history.has(configuration) and problem.admits(configuration)

    made, origin = spaces.first_of(child, is_new, ATTEMPTS, problem.space) if child else None, "variation"
    if made is None:
        made, origin = spaces.sample_where(problem.space, rng, is_new), "random"
    return None if made is None else Suggestion(made, problem.fidelity.high, origin=origin)


def mutate(space: ConfigurationSpace, parent: Configuration, rng: np.random.Generator) -> Configuration:
    """Change one or more active hyperparameters, by a step (`moved`) or a fresh draw each.

    Their number is 1 plus a Poisson number of mean 1. Hyperparameters that become active are drawn.
    """
    names = [name for name in sorted(parent) if space[name].size > 1]
    count = min(len(names), 1 + int(rng.poisson(1.0)))
    changed = {}
    for index in rng.permutation(len(names))[:count]:
        name = names[index]
        step = rng.random() < 0.5
        changed[name] = moved(space, name, parent[name], rng) if step else spaces.drawn(space, name, rng)
    return spaces.activated(space, {**parent, **changed}, rng)


def moved(space: ConfigurationSpace, name: str, value: Any, rng: np.random.Generator) -> Any:
    """Move a value to a neighbour.

    A choice takes any other value, an ordinal an adjacent one, a number a normal step on its own scale. Step sizes are
    log-normal, so that some are fine and some wide.
    """
    hp = space[name]
    if isinstance(hp, CategoricalHyperparameter):
        others = [choice for choice in hp.choices if choice != value]
        return spaces.python(others[rng.integers(len(others))])
    if isinstance(hp, OrdinalHyperparameter):
        place = list(hp.sequence).index(value) + (1 if rng.random() < 0.5 else -1)
        return spaces.python(hp.sequence[place if 0 <= place < len(hp.sequence) else (1 if place < 0 else -2)])
    start, width = float(hp.to_vector(value)), STEP * math.exp(rng.normal())
    for point in start + width * rng.normal(size=10):
        if 0 <= point <= 1 and (near := spaces.python(hp.to_value(point))) != value:
            return near
    return spaces.drawn(space, name, rng)


def recombine(
    space: ConfigurationSpace,
    parent: Configuration,
    partner: Configuration,
    rng: np.random.Generator,
    frozen: Collection[str] = (),
) -> Configuration:
    """Take each hyperparameter from one of two parents with equal probability.

    This includes the structure: what is active in the child and in only one of the two is taken from that one, in
    neither is drawn. The `frozen` ones are the parent's.
    """
    child = dict(parent)
    for name in sorted(partner):
        if name not in parent or (name not in frozen and rng.random() < 0.5):
            child[name] = partner[name]
    return spaces.activated(space, child, rng)
