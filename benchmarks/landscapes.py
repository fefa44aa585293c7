"""Problems of two kinds, drawn from a seed, on which optimizers are compared: architectures, and refits.

A landscape gives every hyperparameter that is active an effect of its own and pairs of them an interaction, all of
random shapes and sizes. `Architectures` are some thirty choices that depend on layer counts and layer types, with
learning curves that cross; a training is continued. `Refits` have numbers, ordinals, choices and conditions, and a
fidelity, such as the share of the training data, at which every evaluation starts anew and pays in full; at a low one
another landscape mixes in, by which its order of configurations is more or less misleading.
"""

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from ConfigSpace import (
    AndConjunction,
    Categorical,
    ConfigurationSpace,
    EqualsCondition,
    Float,
    GreaterThanCondition,
    InCondition,
    Integer,
    OrdinalHyperparameter,
)
from ConfigSpace.hyperparameters import CategoricalHyperparameter

from jahslib.core.problem import Fidelity, Job, Objective, Outcome, Problem
from jahslib.core.trials import Configuration
from jahslib.spaces import configurations as spaces

POINTS = 2000


class Landscape:
    """A function of a configuration, with mean 0 and standard deviation 1 over the space's prior.

    Args:
        pairs: how many pairs of hyperparameters interact; mostly those that stand near each other in the space.
        share: size of the interactions together, relative to that of the effects.
    """

    def __init__(self, space: ConfigurationSpace, rng: np.random.Generator, pairs: int, share: float):
        self.space, names = space, list(space)
        self.effects = [(name, rng.exponential(), self._curve(name, rng, peaked=True)) for name in names]
        self.interactions = []
        for _ in range(pairs):
            first = int(rng.integers(len(names)))
            second = (first + 1 + int(abs(rng.normal(0, 4)))) % len(names)
            if first != second:
                size = rng.exponential() * share * math.sqrt(len(names) / pairs)
                curves = [(names[i], self._curve(names[i], rng, peaked=False)) for i in (first, second)]
                self.interactions.append((size, *curves))
        values = [self._raw(spaces.activated(space, {}, rng)) for _ in range(500)]
        self._mean, self._sd = float(np.mean(values)), float(np.std(values))

    def _curve(self, name: str, rng: np.random.Generator, peaked: bool) -> Any:
        hp = self.space[name]
        if isinstance(hp, CategoricalHyperparameter):
            return dict(zip(hp.choices, rng.normal(size=len(hp.choices)), strict=True))
        if isinstance(hp, OrdinalHyperparameter):
            return dict(zip(hp.sequence, np.cumsum(rng.normal(0, 0.7, len(hp.sequence))), strict=True))
        return (rng.uniform(2, 6), rng.random(), 2) if peaked else (rng.normal(0, 1.7), rng.random(), 1)

    def _at(self, name: str, curve: Any, configuration: Configuration) -> float:
        if isinstance(curve, dict):
            return curve[configuration[name]]
        steepness, place, power = curve
        return -steepness * (float(self.space[name].to_vector(configuration[name])) - place) ** power

    def _raw(self, c: Configuration) -> float:
        total = sum(size * self._at(name, curve, c) for name, size, curve in self.effects if name in c)
        for size, (first, one), (second, two) in self.interactions:
            if first in c and second in c:
                total += size * self._at(first, one, c) * self._at(second, two, c)
        return total

    def __call__(self, configuration: Configuration) -> float:
        return (self._raw(configuration) - self._mean) / self._sd


class Drawn(Problem):
    """Maximise `accuracy`, measured with noise that depends on the trial's seed; `true` is what it is without."""

    objective = Objective("accuracy", best=2.0, worst=-1.0)
    noise: float

    def mean(self, configuration: Configuration, fidelity: float) -> float:
        """Accuracy without noise, in 0..1."""
        raise NotImplementedError

    def evaluate(self, job: Job) -> Outcome:
        true = self.mean(job.configuration, job.fidelity)
        noise = np.random.default_rng([job.seed, int(1000 * job.fidelity)]).normal(0, self.noise)
        return Outcome({"accuracy": true + noise, "true": true}, self.epochs(job.stages))

    @cached_property
    def reference(self) -> np.ndarray:
        """`true` at the highest fidelity of `POINTS` random configurations."""
        rng = np.random.default_rng([self.seed, 1])
        drawn = [spaces.activated(self.space, {}, rng) for _ in range(POINTS)]
        return np.array([self.mean(c, self.fidelity.high) for c in drawn])


@dataclass
class Architectures(Drawn):
    """32 to 36 choices: up to six convolutional and four dense layers with what each needs, and the training's own."""

    seed: int

    def __post_init__(self):
        rng, kind = np.random.default_rng([self.seed, 2]), self.seed
        self.name, self.noise = f"architectures {kind}", (0.001, 0.01)[kind % 2]
        self.space = architectures(*((5, 3), (6, 2), (4, 4))[kind % 3])
        self.fidelity = (Fidelity(1, 52), Fidelity(1, 27), Fidelity(2, 50))[kind // 3 % 3]
        self._final = Landscape(self.space, rng, (10, 30, 60)[kind % 3], (0.5, 1.0)[kind // 2 % 2])
        self._speed = Landscape(self.space, rng, 1, 0.0)

    def mean(self, configuration: Configuration, fidelity: float) -> float:
        scale = min(max(0.12 * math.exp(0.7 * self._speed(configuration)), 0.02), 0.6)
        learned = 1 - math.exp(-fidelity / self.fidelity.high / scale)
        return learned / (1 + math.exp(-0.8 * self._final(configuration)))


@dataclass
class Refits(Drawn):
    """Three to seventeen hyperparameters, or an architecture; the lowest fidelity misleads by little or by much."""

    seed: int

    def __post_init__(self):
        rng, kind = np.random.default_rng([self.seed, 3]), self.seed
        self.name, self.noise = f"refits {kind}", (0.002, 0.01)[kind % 2]
        size = (3, 5, 8, 12, 16, 0)[kind % 6]
        self.space = mixed(size, rng) if size else architectures(5, 3)
        self.fidelity = (Fidelity(1, 52), Fidelity(1, 27, "trees"), Fidelity(0.03, 1.0, "trainsize"))[kind // 3 % 3]
        pairs, share = (2, 8, 20)[kind % 3], (0.5, 1.0)[kind // 2 % 2]
        self._final, self._misleading = (Landscape(self.space, rng, pairs, share) for _ in range(2))
        self._amount = math.sqrt(1 / (0.95, 0.7, 0.4, 0.2)[kind % 4] ** 2 - 1)

    def epochs(self, stages: tuple[float, ...]) -> float:
        return stages[-1]

    def mean(self, configuration: Configuration, fidelity: float) -> float:
        missing = (1 - fidelity / self.fidelity.high) ** 2
        misled = self._amount * missing * self._misleading(configuration) - 1.5 * missing
        return 1 / (1 + math.exp(-0.8 * (self._final(configuration) + misled)))


@cache
def architectures(convolutions: int, dense: int) -> ConfigurationSpace:
    """A network of that many layers at most."""
    space = ConfigurationSpace()
    depth, width = Integer("convolutions", (1, convolutions)), Integer("dense", (1, dense))
    space.add(depth, width, Float("lr", (1e-5, 0.1), log=True), Float("weight_decay", (1e-6, 0.1), log=True))
    space.add(Categorical("activation", ["relu", "tanh", "gelu", "elu"]), Categorical("optimizer", ["sgd", "adam"]))
    space.add(OrdinalHyperparameter("batch", [16, 32, 64, 128]), Float("dropout", (0.0, 0.8)))
    for i in range(1, convolutions + 1):
        kind, norm = Categorical(f"kind{i}", ["conv", "separable", "pool"]), Categorical(f"norm{i}", [True, False])
        channels = Integer(f"channels{i}", (8, 256), log=True)
        kernel = OrdinalHyperparameter(f"kernel{i}", [1, 3, 5, 7])
        space.add(kind, norm, channels, kernel)
        trained = [InCondition(hp, kind, ["conv", "separable"]) for hp in (channels, kernel)]
        if i > 1:
            deep = [GreaterThanCondition(hp, depth, i - 1) for hp in (channels, kernel)]
            trained = [AndConjunction(a, b) for a, b in zip(deep, trained, strict=True)]
            space.add(GreaterThanCondition(kind, depth, i - 1), GreaterThanCondition(norm, depth, i - 1))
        space.add(*trained)
    for i in range(1, dense + 1):
        units, drop = Integer(f"units{i}", (8, 512), log=True), Float(f"drop{i}", (0.0, 0.8))
        space.add(units, drop)
        if i > 1:
            space.add(GreaterThanCondition(units, width, i - 1), GreaterThanCondition(drop, width, i - 1))
    return space


def mixed(size: int, rng: np.random.Generator) -> ConfigurationSpace:
    """Hyperparameters of all types; from eight on, three of them belong each to one value of another choice."""
    kinds = [
        lambda name: Float(name, (1e-4, 1.0), log=True),
        lambda name: Float(name, (0.0, 1.0)),
        lambda name: Integer(name, (1, 200), log=True),
        lambda name: Categorical(name, list("abcd")[: int(rng.integers(2, 5))]),
        lambda name: OrdinalHyperparameter(name, [1, 2, 4, 8]),
    ]
    space = ConfigurationSpace()
    space.add(*(kinds[rng.integers(len(kinds))](f"x{i}") for i in range(size)))
    if size >= 8:
        choice = Categorical("choice", ["p", "q", "r"])
        space.add(choice)
        space.add(*(EqualsCondition(space[f"x{i}"], choice, value) for i, value in enumerate("pqr")))
    return space
