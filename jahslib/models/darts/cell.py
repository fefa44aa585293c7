"""Study 05's cell: five operations on six nodes, stacked into networks of any depth.

Source: the AutoML class project "DARTS with skip prevention and flexible cell stacking" (Hannover, 2024), after DARTS
(Liu et al., ICLR 2019). All operations have stride 1 and keep the image size; every convolution has a bias and batch
normalisation is always on, as in the original. A cell is written as the names of its nodes' operations, node 2 first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jahslib.errors import UserError
from jahslib.models.batch_norm import BatchNorm2d
from jahslib.models.darts import fourier
from jahslib.models.layers import Conv2d, fully_connected, reset_parameters

OPERATIONS = ("identity", "zero", "conv", "resnet", "bottleneck")
KERNELS = {2: 3, 3: 5, 4: 7, 5: 9, 6: 3, 7: 3}  # kernel size by node; node 1 is the cell's input
BRANCHES = ((2,), (3,), (4, 6), (5, 7))  # chains of nodes from the input to the output, which is their sum

CellOperations = tuple[str, ...]  # one for each of the nodes 2..7


class SameConv2d(Conv2d):
    """A k x k convolution of stride 1 that keeps the image size, for an odd k."""

    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__(c_in, c_out, kernel, padding=kernel // 2)

    def forward(self, input: Tensor) -> Tensor:
        return fourier.conv2d(input, self.weight, self.bias)


# Operations: `b x c_in x h x w` -> `b x c_out x h x w` -------------------------------------------------------------


class Identity(nn.Module):
    """The identity, or a bare 1x1 convolution where the number of channels changes."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 1):
        super().__init__()
        self.project = None if c_in == c_out else Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x if self.project is None else self.project(x)


class Zero(nn.Module):
    """The zero operation: zeros of the output's shape."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 1):
        super().__init__()
        self.c_out = c_out

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), self.c_out, *x.shape[2:])


class Conv(nn.Module):
    """Two k x k convolutions, each followed by batch normalisation and ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__()
        self.conv1, self.bn1 = SameConv2d(c_in, c_out, kernel), BatchNorm2d(c_out)
        self.conv2, self.bn2 = SameConv2d(c_out, c_out, kernel), BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class ResNet(nn.Module):
    """A 1x1 projection, even where the channels agree, followed by a basic residual block."""

    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__()
        self.project = Conv2d(c_in, c_out, 1)
        self.conv1, self.bn1 = SameConv2d(c_out, c_out, kernel), BatchNorm2d(c_out)
        self.conv2, self.bn2 = SameConv2d(c_out, c_out, kernel), BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x)
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class Bottleneck(nn.Module):
    """A 1x1 projection, then a residual block with a quarter of the channels in its k x k layer."""

    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__()
        middle = c_out // 4
        self.project = Conv2d(c_in, c_out, 1)
        self.reduce, self.bn1 = Conv2d(c_out, middle, 1), BatchNorm2d(middle)
        self.conv, self.bn2 = SameConv2d(middle, middle, kernel), BatchNorm2d(middle)
        self.expand, self.bn3 = Conv2d(middle, c_out, 1), BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x)
        inner = F.relu(self.bn2(self.conv(F.relu(self.bn1(self.reduce(x))))))
        return F.relu(x + self.bn3(self.expand(inner)))


def operation(name: str, c_in: int, c_out: int, kernel: int) -> nn.Module:
    """Build one of `OPERATIONS`, with weights uninitialised until `layers.reset_parameters`."""
    return (Identity, Zero, Conv, ResNet, Bottleneck)[OPERATIONS.index(name)](c_in, c_out, kernel)


# Discretised networks ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Architecture:
    """A stack of cells and its fully connected layers.

    `cells[i]` holds six names of `OPERATIONS`, `channels[i]` the output channels of that cell, `pooling[i]` whether a
    2 x 2 max pooling follows it. After a global average pooling, `fc` are the widths of the hidden layers, each
    followed by ReLU and dropout. With `surrogate`, every node gets the skip path of the search (see `Network`).

    Raises:
        UserError: an unknown operation, lists that differ in length, or fewer than 4 channels.
    """

    cells: tuple[CellOperations, ...]
    channels: tuple[int, ...]
    pooling: tuple[bool, ...]
    fc: tuple[int, ...] = (64,)
    dropout: float = 0.0
    surrogate: bool = False

    def __post_init__(self):
        if not self.cells or not len(self.cells) == len(self.channels) == len(self.pooling):
            lengths = f"{len(self.cells)} cells, {len(self.channels)} channels and {len(self.pooling)} poolings"
            raise UserError(f"Architecture: {lengths}; give one of each for every cell, and at least one cell")
        for cell in self.cells:
            check_cell(cell)
        if min(self.channels) < 4:
            raise UserError(f"Architecture: {min(self.channels)} channels leave a bottleneck none; give at least 4")


def check_cell(cell: CellOperations) -> None:
    """Raise `UserError` unless `cell` names an operation for each of the nodes 2..7."""
    if len(cell) != len(KERNELS) or not set(cell) <= set(OPERATIONS):
        raise UserError(f"cell {'-'.join(cell)!r}: give {len(KERNELS)} operations, each one of {', '.join(OPERATIONS)}")


class Node(nn.Module):
    """One operation or, with a surrogate skip of fraction s, (1 - s) operation(x) + s skip(x)."""

    def __init__(self, name: str, c_in: int, c_out: int, kernel: int, surrogate: bool):
        super().__init__()
        self.op = operation(name, c_in, c_out, kernel)
        self.skip = Identity(c_in, c_out) if surrogate else None

    def forward(self, x: Tensor, s: Tensor | None) -> Tensor:
        return self.op(x) if self.skip is None or s is None else (1 - s) * self.op(x) + s * self.skip(x)


class Cell(nn.Module):
    """A cell, see `BRANCHES`: `b x c_in x h x w` -> `b x c_out x h x w`, halved (rounded down) by pooling."""

    def __init__(self, cell: CellOperations, c_in: int, c_out: int, pool: bool, surrogate: bool = False):
        super().__init__()
        operations = dict(zip(KERNELS, cell, strict=True))
        inputs = dict.fromkeys(KERNELS, c_in) | {6: c_out, 7: c_out}
        self.nodes = nn.ModuleDict(
            {str(n): Node(operations[n], inputs[n], c_out, k, surrogate) for n, k in KERNELS.items()}
        )
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        # A branch that ends in zero is zero: the nodes before it are not computed.
        self._live = [b for b in BRANCHES if operations[b[-1]] != "zero" or surrogate] or BRANCHES[:1]

    def forward(self, x: Tensor, s: Tensor | None = None) -> Tensor:
        ends = []
        for branch in self._live:
            y = x
            for n in branch:
                y = self.nodes[str(n)](y, s)
            ends.append(y)
        return self.pool(reduce(torch.add, ends))


class Network(nn.Module):
    """The discretised network: `n x channels x h x w` float images -> `n x classes` logits.

    `surrogate` is the fraction s of the skip paths (a 0-dimensional tensor, which the training loop changes in place);
    in evaluation mode it counts as 0.
    """

    surrogate: Tensor

    def __init__(self, architecture: Architecture, channels: int, classes: int, generator: torch.Generator):
        super().__init__()
        a, widths = architecture, (channels, *architecture.channels)
        self.cells = nn.ModuleList(
            Cell(cell, c_in, c_out, pool, a.surrogate)
            for cell, c_in, c_out, pool in zip(a.cells, widths, widths[1:], a.pooling, strict=False)
        )
        self.head = head(widths[-1], a.fc, a.dropout, classes, generator)
        self.register_buffer("surrogate", torch.zeros((), device="cpu"), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        s = self.surrogate if self.training else None
        for cell in self.cells:
            x = cell(x, s)
        return self.head(x)


def head(width: int, fc: Sequence[int], dropout: float, classes: int, generator: torch.Generator) -> nn.Sequential:
    """Build global average pooling, hidden layers with ReLU and dropout, and the classifier."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), *fully_connected(width, fc, classes, dropout, generator)
    )


def check_size(size: int, pooling: Sequence[bool]) -> None:
    """Raise `UserError` when the poolings halve images of `size` pixels to nothing."""
    if size >> sum(pooling) == 0:
        raise UserError(f"pooling: {sum(pooling)} poolings halve {size}-pixel images to nothing; switch some off")


def build(
    architecture: Architecture,
    *,
    channels: int = 3,
    classes: int = 5,
    size: int = 28,
    generator: torch.Generator | None = None,
) -> Network:
    """Build the network of `architecture` for `channels x size x size` images.

    Weights follow torch's default distributions, drawn from a CPU generator, which the dropout layers keep for their
    masks. Raises `UserError` where the image is too small for the number of poolings.
    """
    check_size(size, architecture.pooling)
    generator = generator or torch.Generator()
    return reset_parameters(Network(architecture, channels, classes, generator), generator)
