"""The ConvNet of studies 01 and 02, which can be widened during training.

Source: L. Berg, "BOHB over Growing ConvNets", AutoML 2022 Student Conference. A block is Conv2d -> ReLU -> BatchNorm ->
MaxPool2d(2), then Linear -> ReLU -> BatchNorm blocks, then the classifier. There is no global pooling and no dropout.
"""

from collections.abc import Sequence
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jahslib.errors import UserError, refuse_unknown
from jahslib.models.growing import growable
from jahslib.models.layers import reset_parameters

BatchNormKind = Literal["batch", "running", "none"]


class Block(nn.Module):
    """A growable layer, ReLU, batch normalisation and, after a convolution, max-pooling."""

    def __init__(self, layer: growable.Conv2d | growable.Linear, batch_norm: BatchNormKind):
        super().__init__()
        self.layer = layer
        kind = growable.BatchNorm if self.is_conv else growable.BatchNorm1d
        running = batch_norm == "running"
        self.norm = None if batch_norm == "none" else kind(self.width, track_running_stats=running)

    @property
    def is_conv(self) -> bool:
        """Whether the layer is a convolution; else it is fully connected."""
        return isinstance(self.layer, nn.Conv2d)

    @property
    def width(self) -> int:
        """Number of neurons, or of a convolution's channels."""
        return len(self.layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.layer(x))
        if self.norm is not None:
            x = self.norm(x)
        return F.max_pool2d(x, 2) if self.is_conv else x

    def simulate(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Compute the outputs that neurons with weights `k x in ...` would have for the input `x`."""
        x = self._activate(x, weight, bias)
        if self.norm is not None:
            x = F.batch_norm(x, None, None, training=True, eps=self.norm.eps)
        return F.max_pool2d(x, 2) if self.is_conv else x

    def statistics(self, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Compute mean and unbiased variance (k) of such neurons before normalisation."""
        var, mean = torch.var_mean(self._activate(x, weight, bias), dim=(0, 2, 3) if self.is_conv else 0)
        return mean, var

    def _activate(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if isinstance(self.layer, nn.Conv2d):
            x = F.conv2d(x, weight, bias, padding=self.layer.padding)
            # For one input channel the result may be channels-first, for which pooling on the CPU is slow.
            return F.relu(x).contiguous(memory_format=torch.channels_last)
        return F.relu(F.linear(x, weight, bias))


class GrowingConvNet(nn.Module):
    """A ConvNet that can be widened: `n x channels x size x size` float images -> `n x classes` logits.

    Args:
        conv, fc: initial widths of the convolutions and of the hidden fully connected layers.
        batch_norm: "batch" uses the batch's statistics in evaluation too, as the original does; "running" is the
            ordinary kind; "none" leaves it out.
        generator: a CPU generator for the weights, which follow torch's default distributions for these widths.

    Raises:
        UserError: no convolution, a width below 1, an image too small for the number of poolings, or an unknown
            normalisation.
    """

    def __init__(
        self,
        conv: Sequence[int],
        fc: Sequence[int] = (),
        *,
        channels: int = 1,
        classes: int = 10,
        size: int = 28,
        kernel_size: int = 3,
        batch_norm: BatchNormKind = "batch",
        generator: torch.Generator,
    ):
        super().__init__()
        if not conv or min(*conv, *fc, 1) < 1:
            raise UserError(f"GrowingConvNet: widths {tuple(conv)} and {tuple(fc)}; give convolutions, each at least 1")
        if size >> len(conv) == 0:
            raise UserError(f"GrowingConvNet: {len(conv)} convolutions halve {size}-pixel images to nothing; use fewer")
        refuse_unknown("GrowingConvNet: batch_norm", [batch_norm], get_args(BatchNormKind))
        blocks: list[Block] = []
        width = channels
        for inputs, width in zip((channels, *conv), conv, strict=False):
            blocks.append(Block(growable.Conv2d(inputs, width, kernel_size, padding=kernel_size // 2), batch_norm))
        self.pixels = (size >> len(conv)) ** 2
        inputs = width * self.pixels
        for width in fc:
            blocks.append(Block(growable.Linear(inputs, width), batch_norm))
            inputs = width
        self.blocks = cast(list[Block], nn.ModuleList(blocks))
        self.classifier = growable.Linear(inputs, classes)
        reset_parameters(self, generator)
        self.capturing = False
        self.captured: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits; with `capturing`, a training pass keeps input and blocks' outputs in `captured`."""
        kept = [x]
        for block in self.blocks:
            if x.ndim == 4 and not block.is_conv:
                x = x.flatten(1)
            x = block(x)
            kept.append(x)
        if self.capturing and self.training:
            self.captured = [k.detach() for k in kept]
        return self.classifier(x.flatten(1))

    @property
    def widths(self) -> list[int]:
        """Widths of the hidden layers, convolutions first."""
        return [block.width for block in self.blocks]

    @property
    def n_conv(self) -> int:
        """Number of convolutions among the hidden layers."""
        return sum(block.is_conv for block in self.blocks)

    def layer_parameters(self) -> list[int]:
        """Count the weights and biases of each hidden layer and of the classifier."""
        layers = [*(block.layer for block in self.blocks), self.classifier]
        return [sum(p.numel() for p in layer.parameters()) for layer in layers]

    def count_parameters(self) -> int:
        """Count the weights and biases of convolutions and linear layers alone, as the original does."""
        return sum(self.layer_parameters())

    def following(self, index: int) -> tuple[growable.Conv2d | growable.Linear, int]:
        """Return the layer after hidden layer `index`, and its inputs per neuron of that layer."""
        following = self.classifier if index + 1 == len(self.blocks) else self.blocks[index + 1].layer
        flattened = self.blocks[index].is_conv and isinstance(following, nn.Linear)
        return following, self.pixels if flattened else 1

    def add_neurons(self, index: int, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> None:
        """Widen hidden layer `index`, with zero outgoing weights: the network's function is kept.

        Of k neurons: incoming weights (`k x in ...`), biases, and `Block.statistics` before normalisation.
        """
        block = self.blocks[index]
        block.layer.add_outputs(weight, bias)
        if block.norm is not None:
            block.norm.add_features(mean, var)
        following, inputs = self.following(index)
        following.add_inputs(len(weight) * inputs)

    @torch.no_grad()
    def static(self) -> nn.Sequential:
        """Copy the current network to ordinary torch layers that share no tensors with it."""
        layers: list[nn.Module] = []
        for i, block in enumerate(self.blocks):
            if i == self.n_conv:
                layers.append(nn.Flatten())
            layers += [_ordinary(block.layer), nn.ReLU()]
            if block.norm is not None:
                kind = nn.BatchNorm2d if block.is_conv else nn.BatchNorm1d
                norm = kind(block.width, track_running_stats=block.norm.track_running_stats)
                norm.load_state_dict(block.norm.state_dict())
                layers.append(norm)
            if block.is_conv:
                layers.append(nn.MaxPool2d(2))
        if self.n_conv == len(self.blocks):
            layers.append(nn.Flatten())
        layers.append(_ordinary(self.classifier))
        return nn.Sequential(*layers).to(self.classifier.weight).train(self.training)


def _ordinary(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        shape = layer.in_channels, layer.out_channels, layer.kernel_size
        made = nn.utils.skip_init(nn.Conv2d, *shape, padding=layer.padding)
    else:
        made = nn.utils.skip_init(nn.Linear, layer.in_features, layer.out_features)
    made.load_state_dict(layer.state_dict())
    return made
