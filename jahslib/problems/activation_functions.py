"""Study 03's search for activation functions: terms of a grammar in a ResNet-20.

The grammar is "activation". Source: Schrodi et al., NeurIPS 2023 (arXiv 2211.01842), whose objective is called
act_cifar10: 64,000 steps on batches of 128 of nine tenths of CIFAR-10's training images, the other tenth being held
back. Departures: the same number of whole epochs; no training is stopped at step 10,000 for an error above .4; the
held-back images are drawn at random.
"""

from dataclasses import dataclass
from typing import Any

from jahslib.extras import extra
from jahslib.models import activation_functions
from jahslib.problems.grammar_networks import CIFAR10, NB201, made
from jahslib.spaces.grammars.terms import Term
from jahslib.training.trainer import Training

with extra("training"):
    import torch
    from torch import nn

NAME = "act_cifar10"
PROTOCOL: dict[str, Any] = CIFAR10 | {
    "name": NAME,
    "data": "cifar10",
    "validation": "train",
    "validation_share": 0.1,
    "max_epochs": 182,
    "batch_size": 128,
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "nesterov": False,
    "flip": True,
    "crop": 4,
    "bf16": True,
}


class InStairs(Training):
    """Training with a step schedule: rate divided by 10 at 1/2 and 3/4 of `cosine_epochs`."""

    def follow_schedule(self) -> None:
        assert self.recipe.cosine_epochs is not None
        done = self.epoch / self.recipe.cosine_epochs
        rate = self.recipe.learning_rate * 0.1 ** ((done >= 0.5) + (done >= 0.75))
        for group in self.optimizer.param_groups:
            if group["lr"] != rate:
                group["lr"] = rate
                self._graphed_step = None  # the rate is a constant of the captured step


@dataclass
class ActivationFunctions(NB201):
    """`NB201` with activation functions: its options, `width` being the ResNet's first stage.

    The width is 16 in ResNet-20.
    """

    grammar: str = "activation"

    spaces = ("activation",)
    trainer = InStairs

    def count_parameters(self, term: Term) -> int:
        return activation_functions.count_parameters(term, width=self.width, **self._shape)

    def network(self, term: Term, generator: torch.Generator) -> nn.Module:
        return activation_functions.build(term, width=self.width, **self._shape, generator=generator)

    @property
    def _shape(self) -> dict[str, int]:
        shape = self.shape
        return {name: shape[name] for name in ("channels", "classes")}


def problem(**options: Any) -> ActivationFunctions:
    """Build the source's protocol with some options changed. Raises `UserError` as `made`."""
    return made(ActivationFunctions, PROTOCOL | options)
