"""DARTS's image network of a normal and a reduction cell, a term of `DARTS_CELLS`.

    model = build(term, channels=3, classes=10, generator=generator)

A cell's inputs are the outputs of the two cells before it, each projected to its width by ReLU, 1 x 1 convolution and
batch normalisation; every node sums two operations on earlier nodes, and the nodes' outputs are concatenated. Cells at
a third and at two thirds of the depth are reductions: their operations on the inputs have stride 2, and the width
doubles. Names and details are those of Liu et al., ICLR 2019 (arXiv 1806.09055), sections 3.1 and A.1; poolings are
followed by batch normalisation without parameters, as in Schrodi et al., NeurIPS 2023. Departures: no auxiliary head
and no drop path, which belong to the final training; a `FactorizedReduce` takes images of odd size as well.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jahslib.errors import UserError
from jahslib.models.batch_norm import BatchNorm2d
from jahslib.models.layers import Conv2d, Linear, reset_parameters
from jahslib.models.nb201 import ReLUConvBN
from jahslib.spaces.grammars.terms import Term

NODES = 4
STEM = 3  # stem channels, in multiples of the width

Edges = tuple[tuple[str, int], ...]  # (operation, node that it begins at), two for each node


class FactorizedReduce(nn.Module):
    """Downsampling by two 1 x 1 convolutions of stride 2 on pixel grids offset by one.

    `b x c x h x w` -> `b x c_out x h/2 x w/2` (rounded up); each convolution gives half of the channels.
    """

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.even = Conv2d(c_in, c_out // 2, 1, 2, bias=False)
        self.odd = Conv2d(c_in, c_out - c_out // 2, 1, 2, bias=False)
        self.bn = BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.bn(torch.cat([self.even(x), self.odd(F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:])], dim=1))


def _depthwise(c: int, kernel: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    """Build ReLU, depthwise convolution, pointwise convolution and batch normalisation."""
    pad = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        Conv2d(c, c, kernel, stride, padding=pad, dilation=dilation, groups=c, bias=False),
        Conv2d(c, c, 1, bias=False),
        BatchNorm2d(c),
    ]


def operation(name: str, c: int, stride: int) -> nn.Module:
    """Build one of the grammar's operations: `b x c x h x w` -> the same shape, halved with stride 2."""
    match name:
        case "id":
            return nn.Identity() if stride == 1 else FactorizedReduce(c, c)
        case "max_pool3x3":
            return nn.Sequential(nn.MaxPool2d(3, stride, padding=1), BatchNorm2d(c, affine=False))
        case "avg_pool3x3":
            pool = nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
            return nn.Sequential(pool, BatchNorm2d(c, affine=False))
        case "sep_conv3x3" | "sep_conv5x5":
            kernel = int(name[-1])
            return nn.Sequential(*_depthwise(c, kernel, stride), *_depthwise(c, kernel, 1))
        case "dil_conv3x3" | "dil_conv5x5":
            return nn.Sequential(*_depthwise(c, int(name[-1]), stride, dilation=2))
    raise UserError(f"DARTS cell: no operation {name!r}; give a term of the grammar 'darts-cells'")


def edges(cell: Term) -> Edges:
    """List the operations of a cell with the nodes at which they begin."""
    words = [child if isinstance(child, str) else child.head for child in cell.children]
    return tuple((name, int(tail)) for name, tail in zip(words[::2], words[1::2], strict=True))


class Cell(nn.Module):
    """A cell: the outputs of the two before it (`b x . x h x w`) -> `b x 4c x h x w`, halved by a reduction."""

    def __init__(self, own: Edges, before: int, last: int, c: int, *, reduction: bool, after_reduction: bool):
        super().__init__()
        self.before = FactorizedReduce(before, c) if after_reduction else ReLUConvBN(before, c, 1)
        self.last = ReLUConvBN(last, c, 1)
        self.tails = [tail for _, tail in own]
        self.operations = nn.ModuleList(operation(name, c, 2 if reduction and tail < 2 else 1) for name, tail in own)

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        values = [self.before(before), self.last(last)]
        for node in range(NODES):
            a, b = (self.operations[i](values[self.tails[i]]) for i in (2 * node, 2 * node + 1))
            values.append(a + b)
        return torch.cat(values[2:], dim=1)


class Network(nn.Module):
    """A network of stacked cells: `n x channels x h x w` float images -> `n x classes` logits."""

    def __init__(self, normal: Edges, reduction: Edges, channels: int, classes: int, width: int, layers: int):
        super().__init__()
        self.stem = nn.Sequential(Conv2d(channels, STEM * width, 3, padding=1, bias=False), BatchNorm2d(STEM * width))
        cells, before, last, c, after = [], STEM * width, STEM * width, width, False
        for i in range(layers):
            reduces = i in (layers // 3, 2 * layers // 3)
            c *= 2 if reduces else 1
            own = reduction if reduces else normal
            cells.append(Cell(own, before, last, c, reduction=reduces, after_reduction=after))
            before, last, after = last, NODES * c, reduces
        self.cells, self.classifier = nn.ModuleList(cells), Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        before = last = self.stem(x)
        for cell in self.cells:
            before, last = last, cell(before, last)
        return self.classifier(last.mean((2, 3)))


def build(
    term: Term,
    *,
    channels: int = 3,
    classes: int = 10,
    width: int = 16,
    layers: int = 8,
    generator: torch.Generator | None = None,
) -> Network:
    """Build the network of a pair of cells: `layers` cells, the first with `width` channels a node.

    Weights follow torch's default distributions, drawn from a CPU generator. Raises `UserError` for an operation that
    is not in the grammar, or fewer than 2 channels or 1 cell.
    """
    if width < 2 or layers < 1:
        raise UserError(f"DARTS network: width {width}, layers {layers}; give at least 2 channels and 1 cell")
    normal, reduction = (edges(cell) for cell in term.children if isinstance(cell, Term))
    made = Network(normal, reduction, channels, classes, width, layers)
    return reset_parameters(made, generator or torch.Generator())
