"""Study 03's search for DARTS's normal and reduction cells, in a small network on images.

Source: Schrodi et al., NeurIPS 2023 (arXiv 2211.01842): 50 epochs on one half of CIFAR-10's training images, and the
mean validation error on the other half after each of the last five. Departures: validation images are not augmented;
the two cells are one term, so that one kernel compares them, where theirs has a kernel for each.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from jahslib.core.problem import Job, Outcome
from jahslib.errors import UserError
from jahslib.extras import extra
from jahslib.models import darts_network
from jahslib.models.layers import count_parameters
from jahslib.problems.grammar_networks import CIFAR10, NB201
from jahslib.spaces.grammars.terms import Term

with extra("training"):
    import torch
    from torch import nn

NAME = "darts_cifar10"
PROTOCOL: dict[str, Any] = CIFAR10 | {
    "data": "cifar10",
    "validation": "train",
    "validation_share": 0.5,
    "max_epochs": 50,
    "batch_size": 64,
    "lr": 0.025,
    "momentum": 0.9,
    "weight_decay": 3e-4,
    "nesterov": False,
    "flip": True,
    "crop": 4,
    "bf16": False,
}
CLIP = 5.0  # of the gradient's norm


@dataclass
class DartsCells(NB201):
    """Search for a pair of DARTS cells, in a network of `layers` cells, with the options of `NB201`.

    The error is the mean over the `last` epochs, of those that a trial itself trains.
    """

    grammar: str = "darts-cells"
    curves: bool = True
    layers: int = 8
    last: int = 5

    spaces = ("darts-cells",)
    protocols: ClassVar = {NAME: PROTOCOL}
    clip = CLIP

    def __post_init__(self):
        super().__post_init__()
        if self.layers < 1 or self.last < 1 or self.width < 2 or not self.curves:
            raise UserError(
                f"DARTS cells: layers {self.layers}, last {self.last}, width {self.width}, curves {self.curves}; "
                "give at least 1 cell, 1 epoch and 2 channels, and leave the curves on"
            )

    def evaluate(self, job: Job) -> Outcome:
        outcome = super().evaluate(job)
        errors = outcome.curve.get(self.curve_metric, [])[-self.last :]
        if self.split == "test" or not errors:
            return outcome
        return replace(outcome, metrics=outcome.metrics | {self.curve_metric: sum(errors) / len(errors)})

    def count_parameters(self, term: Term) -> int:
        return count_parameters(darts_network.build, term, width=self.width, layers=self.layers, **self.ends)

    def network(self, term: Term, generator: torch.Generator) -> nn.Module:
        return darts_network.build(term, width=self.width, layers=self.layers, **self.ends, generator=generator)


problem = partial(DartsCells.of, NAME)
