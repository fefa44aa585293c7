"""The supernet of study 05: every node is a weighted mixture of all five operations.

A node computes sum_o w_o o(x), with the surrogate skip path of the skip prevention beside it. Evaluated naively, each
operation on its own and then the weighted sum, most of the time is spent on work that algebra avoids:

- A bare 1x1 convolution followed by another convolution is one convolution with composed weights. It is cheaper where
  the channels grow (the k x k of ResNet) and always before a 1x1 (Bottleneck). The bias of the first one stops at
  the zero padding of the second; its effect is one map of the image's size, the same for every image.
- A weight w > 0 passes through ReLU: w relu(z) = relu(w z). So it scales the affine parameters of the last batch
  normalisation and of the 1x1 convolution on the residual path, and no activation is multiplied by it. (At w = 0 the
  output is right as well, but w gets no gradient; a softmax does not reach 0.)
- Identity and skip path are linear: with the weights of nodes 2 and 3, whose outputs are summed, they are one 1x1.
- Zero is omitted, sums and ReLUs are in place, and activations are channels-last.
- Large kernels use the Fourier transform on the CPU (`fourier`).

The modules hold the operations' own parameters under their own names. `benchmarks/supernet.py` measures the gain.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jahslib.errors import refuse_unknown
from jahslib.models.darts import fourier
from jahslib.models.darts.cell import (
    KERNELS,
    OPERATIONS,
    Architecture,
    Bottleneck,
    Conv,
    Identity,
    ResNet,
    check_size,
    head,
    operation,
)
from jahslib.models.layers import reset_parameters

Surrogate = Literal["convex", "additive"]


class MixedNode(nn.Module):
    """The parameters of one node: all operations and the skip path."""

    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__()
        self.ops = nn.ModuleDict({name: operation(name, c_in, c_out, kernel) for name in OPERATIONS})
        self.skip = Identity(c_in, c_out)


class MixedCell(nn.Module):
    """A cell of six mixed nodes; see `jahslib.models.darts.cell.Cell` for its graph."""

    def __init__(self, c_in: int, c_out: int, pool: bool):
        super().__init__()
        inputs = dict.fromkeys(KERNELS, c_in) | {6: c_out, 7: c_out}
        self.nodes = nn.ModuleDict({str(n): MixedNode(inputs[n], c_out, k) for n, k in KERNELS.items()})
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()

    def forward(self, x: Tensor, weights: Sequence[Tensor], s: float) -> Tensor:
        """Apply the cell, with five operation weights per node and skip weight `s`."""
        nodes = [(self.nodes[str(n)], w) for n, w in zip(KERNELS, weights, strict=True)]
        two, three, four, five, six, seven = nodes
        total = _mixed(x, [two, three], s)
        for first, second in ((four, six), (five, seven)):
            total = total.add_(_mixed(_mixed(x, [first], s), [second], s))
        return self.pool(total)


class Supernet(nn.Module):
    """Mixed cells and a head: `n x channels x size x size` float images -> `n x classes` logits.

    One set of architecture weights (`6 x 5`: node, operation) is shared by all cells. With `surrogate` "convex" a node
    outputs (1 - s) mixed(x) + s skip(x), as in the class project, with "additive" mixed(x) + s skip(x), as in DARTS-
    (Chu et al., ICLR 2021, equation 4; there the skip of reduction cells differs, which these cells do not have).
    Weights follow torch's default distributions, drawn from `generator` (a CPU generator).

    Raises:
        UserError: as `darts.cell.Architecture` and `darts.cell.build`, or an unknown `surrogate`.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        classes: int = 5,
        size: int = 28,
        out_channels: Sequence[int] = (16, 32, 64),
        pooling: Sequence[bool] = (True, True, True),
        fc: Sequence[int] = (64,),
        dropout: float = 0.0,
        surrogate: Surrogate = "convex",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        refuse_unknown("surrogate:", [surrogate], get_args(Surrogate))
        generator = generator or torch.Generator()
        self.surrogate, self.channels, self.classes = surrogate, channels, classes
        self.shape = {"channels": tuple(out_channels), "pooling": tuple(pooling), "fc": tuple(fc), "dropout": dropout}
        Architecture((OPERATIONS[:1] * len(KERNELS),) * len(out_channels), **self.shape)  # for its checks
        check_size(size, pooling)
        widths = (channels, *out_channels)
        self.cells = nn.ModuleList(
            MixedCell(c_in, c_out, pool) for c_in, c_out, pool in zip(widths, widths[1:], pooling, strict=False)
        )
        self.head = head(widths[-1], fc, dropout, classes, generator)
        reset_parameters(self, generator)

    def forward(self, images: Tensor, weights: Tensor, s: float = 0.0) -> Tensor:
        """Apply the supernet with architecture weights `6 x 5` >= 0 and surrogate fraction `s`."""
        if self.surrogate == "convex" and s:
            weights = (1 - s) * weights
        by_node = [row.unbind() for row in weights.unbind()]
        x = images.contiguous(memory_format=torch.channels_last)
        for cell in self.cells:
            x = cell(x, by_node, s)
        return self.head(x)


def _mixed(x: Tensor, nodes: Sequence[tuple[MixedNode, Sequence[Tensor]]], s: float) -> Tensor:
    """Sum the outputs of these nodes, all applied to `x`."""
    identity, _, conv, resnet, bottleneck = range(len(OPERATIONS))
    linear = [(node.ops["identity"], w[identity]) for node, w in nodes]
    if s:
        linear += [(node.skip, x.new_full((), s)) for node, _ in nodes]
    total = _linear(x, linear)
    for node, w in nodes:
        total = total.add_(_conv(node.ops["conv"], x, w[conv]))
        total = total.add_(_resnet(node.ops["resnet"], x, w[resnet]))
        total = total.add_(_bottleneck(node.ops["bottleneck"], x, w[bottleneck]))
    return total


def _linear(x: Tensor, parts: Sequence[tuple[Identity, Tensor]]) -> Tensor:
    """Compute sum_i w_i identity_i(x); the result may be changed in place."""
    coefficients = torch.stack([w for _, w in parts])
    projections = [op.project for op, _ in parts if op.project is not None]
    if not projections:
        return x * coefficients.sum()
    kernel = torch.tensordot(coefficients, torch.stack([p.weight for p in projections]), 1)
    return F.conv2d(x, kernel, coefficients @ torch.stack([p.bias for p in projections]))


def _conv(op: Conv, x: Tensor, w: Tensor) -> Tensor:
    inner = op.bn1(op.conv1(x)).relu_()
    return op.bn2(op.conv2(inner), w).relu_()


def _resnet(op: ResNet, x: Tensor, w: Tensor) -> Tensor:
    inner = op.bn1(_composed(op.project, op.conv1, x)).relu_()
    return op.bn2(op.conv2(inner), w).add_(_weighted_residual(op.project, x, w)).relu_()


def _bottleneck(op: Bottleneck, x: Tensor, w: Tensor) -> Tensor:
    project, reduce = op.project, op.reduce
    kernel = torch.einsum("mcij,cdij->mdij", reduce.weight, project.weight)
    inner = op.bn1(F.conv2d(x, kernel, torch.addmv(reduce.bias, reduce.weight[:, :, 0, 0], project.bias))).relu_()
    inner = op.bn2(op.conv(inner)).relu_()
    return op.bn3(op.expand(inner), w).add_(_weighted_residual(project, x, w)).relu_()


def _weighted_residual(project: nn.Conv2d, x: Tensor, w: Tensor) -> Tensor:
    assert project.bias is not None
    return F.conv2d(x, w * project.weight, w * project.bias)


def _composed(project: nn.Conv2d, conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Compute conv(project(x)), as one convolution where that takes fewer operations."""
    if project.in_channels >= project.out_channels:
        return conv(project(x))
    kernel = torch.einsum("omij,mc->ocij", conv.weight, project.weight[:, :, 0, 0])
    of_bias = torch.einsum("omij,m->oij", conv.weight, project.bias)[:, None]
    plane = x.new_ones(1, 1, *x.shape[2:])
    return fourier.conv2d(x, kernel).add_(F.conv2d(plane, of_bias, conv.bias, padding=conv.padding))
