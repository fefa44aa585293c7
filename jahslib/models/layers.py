"""Layers that draw weights and dropout masks from a generator passed in."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Model = TypeVar("Model", bound=nn.Module)


class Conv2d(nn.Conv2d):
    """A convolution that draws no random numbers on construction."""

    def reset_parameters(self) -> None:
        """Do nothing; the module's `reset_parameters` draws from a given generator."""


class Linear(nn.Linear):
    """A fully connected layer that draws no random numbers on construction."""

    def reset_parameters(self) -> None:
        """Do nothing; see `Conv2d.reset_parameters`."""


class Dropout(nn.Module):
    """Inverted dropout with masks from `generator`, which must be on the input's device."""

    def __init__(self, p: float, generator: torch.Generator):
        super().__init__()
        self.p = p
        self.generator = generator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return x
        keep = 1 - self.p
        return x * torch.empty_like(x).bernoulli_(keep, generator=self.generator).div_(keep)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Standardise(nn.Module):
    """Channel-wise standardisation of images; mean and deviation are not in the state dict."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor):
        super().__init__()
        self.register_buffer("mean", mean.view(-1, 1, 1), persistent=False)
        self.register_buffer("std", std.view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def fully_connected(
    width: int, hidden: Sequence[int], classes: int, dropout: float, generator: torch.Generator
) -> list[nn.Module]:
    """Build hidden layers with ReLU and dropout, and the classifier."""
    layers: list[nn.Module] = []
    widths = [width, *hidden]
    for inputs, outputs in pairwise(widths):
        layers += [Linear(inputs, outputs), nn.ReLU(inplace=True), Dropout(dropout, generator)]
    return [*layers, Linear(widths[-1], classes)]


def count_parameters(build: Callable[..., nn.Module], *args: Any, **options: Any) -> int:
    """Count the trainable parameters of `build(*args, **options)` from shapes alone; raises as `build` does."""
    with torch.device("meta"):
        model = build(*args, **options)
    return sum(parameter.numel() for parameter in model.parameters())


def reset_parameters(model: Model, generator: torch.Generator) -> Model:
    """Initialise every convolution, linear and batch normalisation layer by torch's defaults, in module order.

    Returns the model.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        elif isinstance(module, _BatchNorm):
            module.reset_parameters()
    return model
