"""The network of study 07: 1 to 3 convolution blocks, then 1 to 3 fully connected layers.

Source: the "AutoML lecture" project of Freiburg and Hannover (summer 2021), network `torchModel` and its search space.
A block is Conv2d -> ReLU -> [BatchNorm2d] -> MaxPool2d(2): batch normalisation comes *after* the ReLU, as in the
original. Dropout follows the fully connected layers only.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from ConfigSpace import (
    CategoricalHyperparameter,
    ConfigurationSpace,
    Constant,
    Float,
    InCondition,
    Integer,
    OrdinalHyperparameter,
)
from ConfigSpace.hyperparameters import Hyperparameter
from torch import nn

from jahslib.errors import UserError, refuse_unknown
from jahslib.models import layers
from jahslib.models.layers import Conv2d, fully_connected, reset_parameters

# The course's default network, which lies in the space (6,360,741 parameters for 3 x 16 x 16 images of 17 classes).
DEFAULT: dict[str, Any] = {
    "learning_rate_init": 0.0016651181400389517,
    "batch_size": 290,
    "kernel_size": 5,
    "use_BN": False,
    "global_avg_pooling": True,
    "dropout_rate": 0.2,
    "n_conv_layers": 3,
    "n_channels_conv_0": 457,
    "n_channels_conv_1": 511,
    "n_channels_conv_2": 38,
    "n_fc_layers": 2,
    "n_channels_fc_0": 27,
    "n_channels_fc_1": 17,
}

# The best configuration reported for precision >= .39 and at most 2e7 parameters (it has 1,012,899).
ROW_1: dict[str, Any] = {
    "learning_rate_init": 0.001534,
    "batch_size": 280,
    "kernel_size": 5,
    "use_BN": True,
    "global_avg_pooling": True,
    "dropout_rate": 0.01391,
    "n_conv_layers": 2,
    "n_channels_conv_0": 351,
    "n_channels_conv_1": 109,
    "n_fc_layers": 1,
    "n_channels_fc_0": 226,
}

# name -> (lower, upper, default, logarithmic) or the choices, whose first is the default
_RANGES: dict[str, tuple] = {
    "learning_rate_init": (1e-5, 0.1, 0.01, True),
    "batch_size": (4, 300, 16, True),
    "dropout_rate": (0.01, 0.5, 0.2, True),
    "n_conv_layers": (1, 3, 3, False),
    **{f"n_channels_conv_{i}": (16, 1024, 512, True) for i in range(3)},
    "n_fc_layers": (1, 3, 3, False),
    **{f"n_channels_fc_{i}": (4, 512, 256, True) for i in range(3)},
}
_CHOICES: dict[str, tuple] = {"kernel_size": (3, 5, 7), "use_BN": (True, False), "global_avg_pooling": (True, False)}
_GROUPS = {"channels": "n_channels_conv_", "fc_channels": "n_channels_fc_"}


def space(**overrides: Sequence) -> ConfigurationSpace:
    """Build the 14-dimensional search space of study 07.

    An override narrows one hyperparameter: `(lower, upper)` for a number, the choices for `kernel_size`, `use_BN` and
    `global_avg_pooling`. `channels` and `fc_channels` narrow all three convolution or fully connected widths at once.
    A default outside a narrowed range moves to the nearest bound.

    Raises:
        UserError: a name that is not in the space.
    """
    for group, prefix in _GROUPS.items():
        if group in overrides:
            bounds = overrides.pop(group)
            overrides = {f"{prefix}{i}": bounds for i in range(3)} | overrides
    refuse_unknown("flower_cnn.space: hyperparameter", overrides, [*_GROUPS, *_RANGES, *_CHOICES])

    def number(name: str):
        low, high, default, log = _RANGES[name]
        low, high = overrides.get(name, (low, high))
        if low == high:
            return Constant(name, low)
        kind = Integer if isinstance(default, int) else Float
        return kind(name, (low, high), default=min(max(default, low), high), log=log)

    def choice(name: str) -> Hyperparameter:
        kind = OrdinalHyperparameter if name == "kernel_size" else CategoricalHyperparameter
        return kind(name, list(overrides.get(name, _CHOICES[name])))

    configuration_space = ConfigurationSpace(name="flower_cnn")
    configuration_space.add([number(name) for name in ("learning_rate_init", "batch_size", "dropout_rate")])
    configuration_space.add([choice(name) for name in _CHOICES])
    for layer in ("conv", "fc"):
        count = number(f"n_{layer}_layers")
        fewest, most = overrides.get(count.name, (1, 3))
        configuration_space.add(count)
        for i in range(most):
            width = number(f"n_channels_{layer}_{i}")
            configuration_space.add(width)
            if i >= fewest:
                configuration_space.add(InCondition(width, count, list(range(i + 1, most + 1))))
    return configuration_space


def course_space(channels: tuple[int, int] = (512, 2048)) -> ConfigurationSpace:
    """Build the space of the course's BOHB example: learning rate, depth and convolution widths.

    Omitted hyperparameters take `build`'s fallbacks (three fully connected layers among them), and the batch size is
    the 200 to which the course's script falls back. `channels`: smallest and largest width of a convolution.
    """
    space = ConfigurationSpace(name="flower_cnn_course")
    rate = Float("learning_rate_init", (1e-5, 1.0), default=2.244958736283895e-05, log=True)
    n_conv = Integer("n_conv_layers", (1, 3), default=3)
    space.add(rate, n_conv, Constant("batch_size", 200))
    for i in range(3):
        width = Integer(f"n_channels_conv_{i}", channels, default=channels[0])
        space.add(width)
        if i:
            space.add(InCondition(width, n_conv, list(range(i + 1, 4))))
    return space


def build(
    configuration: Mapping[str, Any],
    *,
    channels: int = 3,
    classes: int = 17,
    size: int = 16,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """Build the network: `n x channels x size x size` float images -> `n x classes` logits.

    Weights follow torch's default distributions, drawn from `generator` (on the CPU; None: a new one), which the
    dropout layers keep for their masks. Absent keys take the original's fallbacks.

    Raises:
        UserError: the image is too small for the number of poolings.
    """
    generator = generator or torch.Generator()
    get = dict(configuration).get
    kernel, n_conv = int(get("kernel_size", 5)), int(get("n_conv_layers", 3))
    if size >> n_conv == 0:
        raise UserError(f"flower_cnn: n_conv_layers={n_conv} halves {size}-pixel images to nothing; use fewer layers")

    convolutions: list[nn.Module] = []
    width = channels
    for i in range(n_conv):
        inputs, width = width, int(get(f"n_channels_conv_{i}", 2 * width if i else 16))
        convolutions += [Conv2d(inputs, width, kernel, padding=(kernel - 1) // 2), nn.ReLU(inplace=True)]
        if get("use_BN", False):
            convolutions.append(nn.BatchNorm2d(width))
        convolutions.append(nn.MaxPool2d(2))
    if get("global_avg_pooling", True):
        convolutions.append(nn.AdaptiveAvgPool2d(1))
    else:
        width *= (size >> n_conv) ** 2

    # Without a number of layers the original falls back to these three widths, the last two of them unusual.
    fallback = {} if "n_fc_layers" in configuration else {0: 256, 1: 17, 2: 273}
    hidden = [width]
    for i in range(int(get("n_fc_layers", 3))):
        hidden.append(int(get(f"n_channels_fc_{i}", fallback.get(i, hidden[-1] // 2 if i else 256))))
    head = fully_connected(width, hidden[1:], classes, float(get("dropout_rate", 0.2)), generator)
    return reset_parameters(nn.Sequential(*convolutions, nn.Flatten(), *head), generator)


count_parameters = partial(layers.count_parameters, build)
