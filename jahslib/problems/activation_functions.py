"""Study 03's search for activation functions: terms of a grammar in a ResNet-20.

The grammar is "activation". Source: Schrodi et al., NeurIPS 2023 (arXiv 2211.01842), whose objective is called
act_cifar10: 64,000 steps on batches of 128 of nine tenths of CIFAR-10's training images, the other tenth being held
back. Departures: the same number of whole epochs; no training is stopped at step 10,000 for an error above .4; the
held-back images are drawn at random.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from jahslib.extras import extra
from jahslib.models import activation_functions
from jahslib.models.layers import count_parameters
from jahslib.problems.grammar_networks import CIFAR10, NB201
from jahslib.spaces.grammars.terms import Term

with extra("training"):
    import torch
    from torch import nn

NAME = "act_cifar10"
PROTOCOL: dict[str, Any] = CIFAR10 | {
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


@dataclass
class ActivationFunctions(NB201):
    """`NB201` with activation functions; `width` is that of the ResNet's first stage, 16 in ResNet-20."""

    grammar: str = "activation"

    spaces = ("activation",)
    protocols: ClassVar = {NAME: PROTOCOL}
    annealing = "steps"

    def count_parameters(self, term: Term) -> int:
        return count_parameters(activation_functions.build, term, width=self.width, **self.ends)

    def network(self, term: Term, generator: torch.Generator) -> nn.Module:
        return activation_functions.build(term, width=self.width, **self.ends, generator=generator)


problem = partial(ActivationFunctions.of, NAME)
