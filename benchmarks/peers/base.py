"""What all peers share: how a space reads to them, what a continued training is charged, what they are told.

A peer is asked and told by `jahslib.search.search` like an optimizer of ours, so that budget and logs are ours too.
"""

import math
import random
from abc import abstractmethod
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, ClassVar, Literal

import numpy as np
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import CategoricalHyperparameter, Constant, OrdinalHyperparameter
from ConfigSpace.hyperparameters import UniformFloatHyperparameter as UniformFloat
from ConfigSpace.hyperparameters import UniformIntegerHyperparameter as UniformInteger

from jahslib.core.optimizer import Replayed
from jahslib.core.problem import Configuration, Fidelity, Problem
from jahslib.core.trials import Suggestion, Trial
from jahslib.errors import UserError
from jahslib.spaces import configurations as spaces


@dataclass
class Peer(Replayed):
    """Base of the peers.

    Args:
        trainings: full trainings that the budget pays for, for tools that plan with a number of trials.

    A configuration that was trained to a lower fidelity before is continued, whoever asks for it, and charged the
    further epochs only. Fidelities are rounded up to whole ones. Tools that know no constraints are told
    `Problem.penalised_cost`.

    Raises:
        UserError: a space without named hyperparameters; a method of several fidelities for a problem that has one.
    """

    problem: Problem
    seed: int
    trainings: int

    package: ClassVar[str]  # the distribution's name
    many_fidelities: ClassVar[bool] = False  # whether it needs more than one

    def __post_init__(self):
        super().__post_init__()
        spaces.refuse_others(self.problem.space, type(self).__name__)
        if not self.applies(self.problem):
            raise UserError(f"{type(self).__name__}: {self.problem.name} has no lower fidelity; leave it out")

    @classmethod
    def applies(cls, problem: Problem) -> bool:
        """Whether the problem has the fidelities that this peer needs."""
        return not cls.many_fidelities or problem.fidelity.low < problem.fidelity.high

    def describe(self) -> dict[str, Any]:
        return super().describe() | {self.package: version(self.package)}

    def start(self) -> None:
        self._trained: dict[str, tuple[float, int]] = {}  # configuration -> its highest fidelity and that trial
        self.begin()

    @abstractmethod
    def begin(self) -> None:
        """Make the tool anew."""

    @abstractmethod
    def suggest(self) -> tuple[Configuration, float] | None:
        """The tool's next configuration and its fidelity; None where it has no more."""

    @abstractmethod
    def tell(self, trial: Trial) -> None:
        """Tell the tool how its last suggestion came out."""

    def propose(self) -> Suggestion | None:
        if (suggested := self.suggest()) is None:
            return None
        configuration, fidelity = suggested[0], rounded(self.problem.fidelity, suggested[1])
        reached, parent = self._trained.get(spaces.key(configuration), (math.inf, None))
        return Suggestion(
            configuration,
            fidelity,
            parent=parent if reached < fidelity else None,
            final=fidelity >= self.problem.fidelity.high,
        )

    def accept(self, trial_id: int) -> None:
        """Nothing to record: the tool knows what it suggested."""

    def adopt(self, id: int, suggestion: Suggestion) -> None:
        raise UserError(
            f"{type(self).__name__}: cannot go on from a log whose decisions it does not repeat; start over"
        )

    def observe(self, trial: Trial) -> None:
        if trial.status == "ok":
            self._trained[spaces.key(trial.configuration)] = (trial.fidelity, trial.id)
        self.tell(trial)

    def cost(self, trial: Trial) -> float:
        return self.problem.penalised_cost(trial)


def rounded(fidelity: Fidelity, value: float) -> float:
    """A tool's fidelity as the problem has it: within its range, whole where it is counted in whole numbers."""
    value = min(max(value, fidelity.low), fidelity.high)
    return math.ceil(value - 1e-9) if fidelity.whole else float(value)


def rungs(fidelity: Fidelity, eta: int = 3) -> list[float]:
    """Where successive halving looks at a training: `low` times the powers of eta, and `high`."""
    steps = math.floor(math.log(fidelity.high / fidelity.low, eta) + 1e-9)
    below = [fidelity.low * eta**k for k in range(steps + 1)]
    return [*(level for level in below if level < fidelity.high), fidelity.high]


def seed_everything(seed: int) -> None:
    """For tools that draw from the generators of a whole process and take none."""
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


@dataclass(frozen=True)
class Parameter:
    """A hyperparameter as flat tools see it: a number in a range, or one of the choices 0..upper.

    Ordinals are whole numbers, their ranks; choices are told by their positions.
    """

    name: str
    kind: Literal["float", "int", "choice"]
    lower: float
    upper: float
    log: bool = False

    @property
    def bounds(self) -> tuple[float, float]:
        return (float(self.lower), float(self.upper)) if self.kind == "float" else (int(self.lower), int(self.upper))


def parameters(space: ConfigurationSpace) -> list[Parameter]:
    """All hyperparameters but those with one value, whether they are conditional or not.

    Raises:
        UserError: a kind that these tools have no parameter for.
    """
    read = []
    for name, hp in space.items():
        if isinstance(hp, UniformFloat | UniformInteger):
            kind = "float" if isinstance(hp, UniformFloat) else "int"
            read.append(Parameter(name, kind, hp.lower, hp.upper, hp.log))
        elif isinstance(hp, Constant | CategoricalHyperparameter | OrdinalHyperparameter):
            kind = "int" if isinstance(hp, OrdinalHyperparameter) else "choice"
            if (last := len(_values(hp)) - 1) > 0:
                read.append(Parameter(name, kind, 0, last))
        else:
            raise UserError(f"peers: {name} is a {type(hp).__name__}; give a uniform number, a choice or an ordinal")
    return read


def decoded(space: ConfigurationSpace, told: dict[str, Any]) -> Configuration:
    """The configuration that a tool means; what is inactive in it is dropped."""
    values = {}
    for name, hp in space.items():
        known = _values(hp)
        if known:
            values[name] = spaces.python(known[int(told[name]) if len(known) > 1 else 0])
        else:
            number = told[name]
            values[name] = int(number) if isinstance(hp, UniformInteger) else float(number)
            values[name] = min(max(values[name], hp.lower), hp.upper)  # log scales may round past a bound
    return spaces.activated(space, values)


def _values(hp: Any) -> list:
    """In order; empty for a number."""
    return [hp.value] if isinstance(hp, Constant) else list(getattr(hp, "choices", getattr(hp, "sequence", ())))
