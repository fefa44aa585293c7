"""The studies' training loops on made-up images, and the ordinary loop beside each of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import growth, supernet
from jahslib.core.problem import Job
from jahslib.models import flower_cnn, image_nets, nb201
from jahslib.models.growing.convnet import GrowingConvNet
from jahslib.models.growing.neurogenesis import GrowthRule, Neurogenesis
from jahslib.problems.darts.search import Darts, Settings
from jahslib.problems.darts.stack_training import StackTraining
from jahslib.spaces.grammars import examples
from jahslib.training.losses import class_weights, focal_loss
from jahslib.training.trainer import LOSSES, Recipe, Training

Epoch = Callable[[], float]  # trains one epoch, returns its mean loss
ENDLESS = 10**4  # epochs over which schedules run
STACK = {
    "n_cells": 3,
    "n_fc_layers": 1,
    "n_out_features_fc_1": 64,
    "dropout": 0.0,
    "use_surrogate": False,
    "batch_size": 64,
    "loss_class_weight_smoothing": 0.8,
    "focal_loss_gamma": 3.0,
    "optimizer": "adamw",
    "beta1": 0.9,
    "beta2": 0.999,
    "amsgrad": False,
    "lr_scheduler": "none",
    "lr_wo_schedule": 1e-3,
    "use_weight_decay": False,
}
CELL = "conv-resnet-bottleneck-identity-conv-resnet"


def images_of(n: int, channels: int, size: int, classes: int) -> tuple[Tensor, Tensor]:
    """Images (uint8, `n x c x h x w`) whose mean brightness tells the class, and labels (`n`)."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % classes
    images = torch.randint(128, (n, channels, size, size), generator=generator, dtype=torch.uint8)
    return images + (labels * (127 // classes)).to(torch.uint8).view(-1, 1, 1, 1), labels


@dataclass(frozen=True)
class Loop:
    """A training loop of a study.

    `build(shape)` returns what makes the network from a generator; `captures`: the step is captured as a CUDA graph.
    """

    name: str
    shape: dict[str, int]
    images: int
    recipe: Recipe
    build: Callable[..., Callable[[torch.Generator], nn.Module]] | None = None
    captures: bool = False
    options: dict = field(default_factory=dict)

    @property
    def data(self) -> tuple[Tensor, Tensor]:
        return images_of(self.images, **self.shape)

    def training(self, device: str, **how) -> Training:
        assert self.build is not None
        return Training(self.build(**self.shape), *self.data, self.recipe, seed=0, device=device, **self.options, **how)

    def ours(self, device: str, **how) -> Epoch:
        """The library's loop; `how`: `bf16` and `graph` of `Training`."""
        made = self.training(device, **how)
        return lambda: made.run(made.epoch + 1)[-1]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return LOSSES[self.recipe.loss](logits, labels)

    def ordinary(self, device: str) -> Epoch:
        """The plain loop: float32, contiguous images, torch's optimizer as it comes, the loss read at every step."""
        made = self.training(device)
        model, group = made.model.to(memory_format=torch.contiguous_format).train(), made.optimizer.param_groups[0]
        own = ("lr", "momentum", "nesterov", "betas", "weight_decay", "amsgrad")
        optimizer = type(made.optimizer)(model.parameters(), **{k: group[k] for k in own if k in group})
        images, labels = self.data[0].to(device).float() / 255, self.data[1].to(device)

        def epoch() -> float:
            total = 0.0
            for rows in torch.randperm(len(labels)).to(device).split(self.recipe.batch_size):
                optimizer.zero_grad()
                loss = self.loss(model(images[rows]), labels[rows])
                loss.backward()
                optimizer.step()
                total += loss.item() * len(rows)
            return total / len(labels)

        return epoch


class Growing(Loop):
    """Study 02's: ranks at every tenth step; beside it the static network in torch's own layers."""

    def ordinary(self, device: str) -> Epoch:
        static = replace(self, build=lambda **_: lambda g: GrowingConvNet(*WIDTHS, generator=g).static(), options={})
        return Loop.ordinary(static, device)


class Stack(Loop):
    """Study 05's stacks of cells."""

    def training(self, device: str, **how) -> Training:
        configuration = (
            STACK | {f"cell_{i}": CELL for i in (1, 2, 3)} | {f"use_max_pooling_{i}": True for i in (1, 2, 3)}
        )
        configuration |= {"out_channels_1": 8, "out_channels_2": 16, "out_channels_3": 32}
        made = StackTraining(Job(configuration, (ENDLESS,), 0), self.data, self.shape, augment=False, device=device)
        made._bf16 = made._bf16 and how.get("bf16", True)
        return made

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        weights = class_weights(self.data[1], self.shape["classes"], 0.8).to(logits.device)
        return focal_loss(logits, labels, 3.0, weights)


class Search(Loop):
    """Study 05's DARTS: weights and architecture; in float32 everywhere."""

    settings = Settings(epochs=ENDLESS, batch_size=64, apply_early_stopping=False)

    def ours(self, device: str, **how) -> Epoch:
        made = Darts(supernet.build((8, 16, 32)), *supernet.data(), self.settings, seed=0, device=device)
        return lambda: made.run(made.epoch + 1)[-1].train_loss

    def ordinary(self, device: str) -> Epoch:
        one = replace(self.settings, epochs=1)
        return lambda: supernet.ordinary_search(*supernet.data(), supernet.build((8, 16, 32)), one, device)[-1][0]


WIDTHS = ((16, 32, 64), ())


def _growing(q: float) -> Callable:
    rule = GrowthRule(conv_threshold=q, max_conv=256)
    return lambda **_: lambda g: Neurogenesis(GrowingConvNet(*WIDTHS, generator=g), rule, generator=g)


def _of_grammar(channels: int, classes: int, size: int):
    grammar = examples.grammar("hierarchical")
    shape = {"channels": channels, "classes": classes, "size": size}
    return partial(nb201.build, grammar, grammar.sample(np.random.default_rng(1)), width=8, **shape)


def _call(build: Callable, *args, **changes) -> Callable:
    return lambda **shape: lambda g: build(*args, **shape | changes, generator=g)


def _shape(channels: int, size: int, classes: int) -> dict[str, int]:
    return {"channels": channels, "size": size, "classes": classes}


WIDE = flower_cnn.ROW_1 | {"dropout_rate": 0.0}  # without masks, which a device draws otherwise
GROWS = {"after_step": Neurogenesis.grow}
LOOPS = [  # timed; at q = 1 ranks are measured and nothing is added, so that all epochs are of one network
    Growing("growing ConvNet", _shape(1, 28, 10), 500, growth.RECIPE, _growing(1.0), False, GROWS),
    Loop(
        "grammar network",
        _shape(3, 12, 20),
        256,
        Recipe(64, 0.01, "sgd", momentum=0.9, annealing_epochs=64),
        lambda **shape: lambda g: _of_grammar(**shape)(generator=g),
        captures=True,
    ),
    Search("DARTS supernet", _shape(3, 28, supernet.CLASSES), supernet.IMAGES, Recipe(64, 0.005, "sgd")),
    Stack("stack of cells", _shape(3, 28, 5), 256, Recipe(64, 1e-3, "adamw")),
    Loop(
        "LeNet", _shape(1, 28, 10), 2048, Recipe(128, 0.01, "sgd", momentum=0.9), _call(image_nets.build, "lenet"), True
    ),
    Loop("constrained CNN", _shape(3, 16, 17), 280, Recipe(140, 0.0015), _call(flower_cnn.build, WIDE), True),
]
# compared; few images, as a CPU trains them, too, and four steps an epoch, so that the network grows in the third
CHECKED = [
    replace(loop, images=min(loop.images, 4 * loop.recipe.batch_size))
    for loop in (replace(LOOPS[0], build=_growing(0.8)), *LOOPS[1:])
]


def pace(epoch: Epoch, images: int, seconds: float) -> float:
    """Images a second over at least so long and an epoch; reading an epoch's loss waits for the device."""
    begun, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - begun < seconds:
        epoch()
        count += 1
    return images * count / (time.perf_counter() - begun)
