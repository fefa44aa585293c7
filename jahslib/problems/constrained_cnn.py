"""Study 07's problem: the best small CNN with a limited size and a minimum precision.

maximise  top3(x)   subject to   params(x) <= max_model_size,   precision(x) >= min_precision
over the configurations x of `flower_cnn.space()`, with training epochs as fidelity.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from ConfigSpace import ConfigurationSpace

from jahslib.core.problem import Constraint, Job, Objective
from jahslib.core.trials import Configuration
from jahslib.data import registry
from jahslib.errors import Positive, Share, UserError
from jahslib.extras import extra
from jahslib.models import flower_cnn
from jahslib.problems.cross_validated import CrossValidated
from jahslib.spaces import configurations as spaces
from jahslib.training.metrics import batchwise_precision, scores
from jahslib.training.trainer import Recipe, Training

with extra("training"):
    import torch


@dataclass
class ConstrainedCNN(CrossValidated):
    """Constrained optimisation of the CNN by stratified cross-validation.

    As in the original, folds are drawn by `seed`, three of them by default; "weights" is its continuation.

    Args:
        max_model_size, min_precision: the bounds; None omits a constraint.
        narrowed: narrower ranges for `flower_cnn.space`.
        precision: the constrained metric: the original's "batchwise_precision", which its batch size caps, or the true
            "macro_precision". Both are always measured.
        optimizer: "adam" as in the original's search, or "adamw" as in its final evaluation script.

    Raises:
        UserError: an unknown option, or an impossible bound.
    """

    max_model_size: Positive | None = 2e7
    min_precision: Share | None = 0.39
    narrowed: dict[str, Any] = field(default_factory=dict)
    precision: Literal["batchwise_precision", "macro_precision"] = "batchwise_precision"
    optimizer: str = "adam"
    loss: str = "cross_entropy"

    name = "constrained_cnn"
    objective = Objective("top3", best=1.0, worst=0.0)
    sorted_by_class = True  # as the original's folders are: the batch-wise precision depends on it
    curve_metric = "top3"

    def __post_init__(self):
        super().__post_init__()
        Recipe(1, 1.0, self.optimizer, self.loss)  # raises for unknown names
        size = () if self.max_model_size is None else (Constraint("params", "<=", self.max_model_size),)
        floor = () if self.min_precision is None else (Constraint(self.precision, ">=", self.min_precision),)
        self.constraints = size + floor

    def check(self) -> None:
        """Load the data. Raises `UserError` where they are missing, or no configuration is small enough."""
        super().check()
        if self.max_model_size is None:
            return
        if spaces.sample_where(self.space, np.random.default_rng(0), self.admits) is None:
            raise UserError(
                f"constraint_max_model_size: none of 10,000 random configurations has at most {self.max_model_size:g} "
                "parameters; raise it"
            )

    @cached_property
    def space(self) -> ConfigurationSpace:
        return flower_cnn.space(**self.narrowed)

    def known(self, configuration: Configuration) -> dict[str, float]:
        return {"params": flower_cnn.count_parameters(configuration, **self.shape)}

    @property
    def leaked(self) -> torch.Tensor:
        """Mask of the test images that are exact copies of training images."""
        test = registry.load(self.data, "test")
        return registry.duplicates_of(registry.load(self.data), test)[test.labels.argsort(stable=True)]

    def build(self, configuration: Configuration, generator: torch.Generator) -> torch.nn.Module:
        return flower_cnn.build(configuration, **self.shape, generator=generator)

    def recipe(self, configuration: Configuration) -> Recipe:
        return Recipe(configuration["batch_size"], configuration["learning_rate_init"], self.optimizer, self.loss)

    def measure(self, training: Training, logits: torch.Tensor, labels: torch.Tensor, job: Job) -> dict[str, float]:
        batch_size = job.configuration["batch_size"]
        measured = self._scores(logits, labels, batch_size)
        if self.split == "test":
            kept = ~self.leaked
            without = self._scores(logits[kept], labels[kept], batch_size)
            measured |= {f"{name}_without_leaked": value for name, value in without.items()}
        return measured

    def note(self, training: Training, logits: torch.Tensor, measured: dict[str, float]) -> dict[str, Any]:
        return {"predictions": logits.argmax(1).tolist()} if self.split == "test" else {}

    def outputs(self, notes: list[dict[str, Any]]) -> dict[str, Any]:
        return notes[-1]

    def _scores(self, logits: torch.Tensor, labels: torch.Tensor, batch_size: int) -> dict[str, float]:
        precision = batchwise_precision(logits.argmax(1), labels, self.classes, batch_size)
        return scores(logits, labels, self.classes) | {"batchwise_precision": precision}


@dataclass
class CourseExample(ConstrainedCNN):
    """The course's BOHB example: a space of its own (`flower_cnn.course_space`), no constraints.

    `channels`: least and most channels of a convolution; raises `UserError` unless it is a range.
    """

    min_epochs: int = 5
    max_model_size: Positive | None = None
    min_precision: Share | None = None
    channels: tuple[int, int] = (512, 2048)

    name = "constrained_cnn_course"

    def __post_init__(self):
        super().__post_init__()
        if len(self.channels) != 2 or not 1 <= self.channels[0] < self.channels[1]:
            raise UserError(f"course_channels: {list(self.channels)} is no range; give the least and the most channels")

    @cached_property
    def space(self) -> ConfigurationSpace:
        return flower_cnn.course_space(self.channels)
