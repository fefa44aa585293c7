"""Networks of architecture terms, built from the primitives of NAS-Bench-201.

    grammar = examples.grammar("hierarchical")
    model = nb201.build(grammar, grammar.sample(rng), channels=3, classes=10, size=32, generator=generator)

The hierarchical space's primitives are here as well. A term's nested topologies are flattened to one sequence of
operations: `zero` edges and whatever lies on no path from input to output are omitted, `id` edges are bypassed, tensors
that meet at a node are summed. The stem is a 3x3 convolution with batch normalisation; a `resBlock` halves height and
width and doubles the channels; the head is batch normalisation, ReLU, global average pooling and the classifier.

Sources: Dong and Yang, ICLR 2020 (NAS-Bench-201) and Schrodi et al., NeurIPS 2023 (arXiv 2211.01842). Departures: layer
normalisation has its parameters from the start, where the original made them in the first forward pass, too late for
its optimizer; a resBlock's skip pools the last row and column of an odd-sized image as well, so that every size works.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache, reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jahslib.errors import UserError
from jahslib.models import layers
from jahslib.models.batch_norm import BatchNorm2d
from jahslib.models.layers import Conv2d, Linear, reset_parameters
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.terms import Term
from jahslib.spaces.grammars.topology import ID, ZERO, Child, Topology, is_leaf, is_zero

SMALLEST = 8  # pixels a side: two resBlocks leave 2 x 2, enough for instance normalisation's variance

Shape = tuple[int, int, int]  # channels, height, width
Size = int | tuple[int, int]  # of a square, or height and width


# Primitives: `b x c x h x w` -> the same shape, but for the resBlock --------------------------------------------------


class LayerNorm(nn.Module):
    """Normalisation over c, h and w; the affine parameters are kept `h x w x c`, as activations in memory."""

    def __init__(self, c: int, h: int, w: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(h, w, c)), nn.Parameter(torch.zeros(h, w, c))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias).permute(0, 3, 1, 2)


class InstanceNorm(nn.GroupNorm):
    """Instance normalisation as group normalisation with one channel a group, the faster kernel."""

    def __init__(self, c: int):
        super().__init__(c, c)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.contiguous()).contiguous(memory_format=torch.channels_last)


class ReLUConvBN(nn.Module):
    """ReLU, a bias-free convolution ("same" padding) and batch normalisation."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(F.relu(x)))


class ResBlock(nn.Module):
    """A residual block: `b x c x h x w` -> `b x 2c x h/2 x w/2` (rounded up); no ReLU after the sum."""

    def __init__(self, c: int):
        super().__init__()
        self.a, self.b = ReLUConvBN(c, 2 * c, 3, stride=2), ReLUConvBN(2 * c, 2 * c, 3)
        self.skip = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), Conv2d(c, 2 * c, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.b(self.a(x))


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "hardswish": F.hardswish,
    "mish": F.mish,
    "avg_pool": lambda x: F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False),
}
MODULES: dict[str, Callable[[int, int, int], nn.Module]] = {
    "conv3x3": lambda c, h, w: ReLUConvBN(c, c, 3),
    "conv1x1": lambda c, h, w: ReLUConvBN(c, c, 1),
    "conv3x3o": lambda c, h, w: Conv2d(c, c, 3, padding=1, bias=False),
    "conv1x1o": lambda c, h, w: Conv2d(c, c, 1, bias=False),
    "dconv3x3o": lambda c, h, w: Conv2d(c, c, 3, padding=1, groups=c, bias=False),
    "batch": lambda c, h, w: BatchNorm2d(c),
    "instance": lambda c, h, w: InstanceNorm(c),
    "layer": LayerNorm,
    "resBlock": lambda c, h, w: ResBlock(c),
}
PRIMITIVES = (ID, ZERO, *FUNCTIONS, *MODULES)


# From a term to a sequence of operations ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One operation of a flattened term.

    `sources` are the indices of its input values, 0 being the stem's output and i + 1 that of step i; `shape` is the
    shape of these inputs. The label of a sum is "+".
    """

    label: str
    sources: tuple[int, ...]
    shape: Shape


@dataclass
class _Flattening:
    """Steps so far, in topological order, and the shape of every value.

    Sums and operations without parameters are computed once per set of sources, however often the term names them.
    """

    topologies: dict[str, Topology]
    shapes: list[Shape]
    steps: list[Step] = field(default_factory=list)
    known: dict[tuple[str, tuple[int, ...]], int] = field(default_factory=dict)

    def fill(self, child: Child, value: int) -> int:
        """Add the steps of an edge's child, which is not `zero`; map the value at its tail to that at its head."""
        head = child if isinstance(child, str) else child.head
        if is_leaf(child):
            return value if head == ID else self.step(head, (value,))
        topology = self.topologies[head]
        contents, tails = _contents(topology, child)
        values: dict[str, int | None] = {topology.source: value}

        def at(node: str) -> int | None:
            if node not in values:
                into = [i for i, edge in enumerate(topology.edges) if edge.head == node and not is_zero(contents[i])]
                met = [self.fill(contents[i], tail) for i in into if (tail := at(tails[i])) is not None]
                values[node] = self.sum(tuple(met))
            return values[node]

        last = at(topology.sink)
        assert last is not None, "a checked term has a path from source to sink"
        return last

    def sum(self, values: tuple[int, ...]) -> int | None:
        return values[0] if len(values) == 1 else self.step("+", tuple(sorted(values))) if values else None

    def step(self, label: str, sources: tuple[int, ...]) -> int:
        if label != "+" and label not in PRIMITIVES:
            raise UserError(f"network: no operation {label!r}; a term's terminals can be {', '.join(PRIMITIVES)}")
        if label not in MODULES and (label, sources) in self.known:
            return self.known[label, sources]
        shapes = {self.shapes[i] for i in sources}
        if len(shapes) > 1:
            met = " and ".join("x".join(map(str, shape)) for shape in sorted(shapes))
            raise UserError(f"network: tensors of {met} meet at a node; give every path there as many resBlocks")
        c, h, w = shape = shapes.pop()
        self.steps.append(Step(label, sources, shape))
        self.shapes.append((2 * c, (h + 1) // 2, (w + 1) // 2) if label == "resBlock" else shape)
        self.known[label, sources] = len(self.steps)
        return len(self.steps)


def _contents(topology: Topology, term: Term) -> tuple[list[Child], list[str]]:
    """List what fills each edge, and the node at which each begins."""
    contents: list[Child] = [edge.label or ZERO for edge in topology.edges]
    tails = [edge.tail or "" for edge in topology.edges]
    for slot, child in zip(topology.slots, term.children, strict=True):
        if slot.is_tail:
            tails[slot.edge] = child if isinstance(child, str) else child.head
        else:
            contents[slot.edge] = child
    return contents, tails


def flatten(grammar: Grammar, term: Term, shape: Shape) -> tuple[list[Step], Shape]:
    """Flatten a term to its operations and the final shape, given the stem's output `shape`.

    A term that is one cell (of a grammar that starts at CELL) stands for NAS-Bench-201's network of such cells. Raises
    `UserError` for a term of another grammar, or an operation that is not a primitive here.
    """
    grammar.check(term)
    topologies = grammar.topologies
    if term.symbol == "CELL":
        topologies = _around_cells().topologies | topologies
        term = examples.cell_based_network(term)
    flat = _Flattening(topologies, [shape])
    last = flat.fill(term, 0)
    return flat.steps, flat.shapes[last]


@cache
def _around_cells() -> Grammar:
    return Grammar(examples.CELL_BASED_NETWORK)


# The network ------------------------------------------------------------------------------------------------------


class Network(nn.Module):
    """A network of steps: `n x channels x h x w` float images -> `n x classes` logits; `build` initialises it."""

    def __init__(self, steps: list[Step], width: int, channels: int, last: int, classes: int):
        super().__init__()
        self.stem = nn.Sequential(Conv2d(channels, width, 3, padding=1, bias=False), BatchNorm2d(width))
        self.operations = nn.ModuleList(MODULES[step.label](*step.shape) for step in steps if step.label in MODULES)
        self.norm, self.classifier = BatchNorm2d(last), Linear(last, classes)
        self._program = _program(steps, list(self.operations))

    def forward(self, x: Tensor) -> Tensor:
        values: list[Tensor | None] = [self.stem(x)]
        for call, sources, spent in self._program:
            values.append(call(*[values[i] for i in sources]))
            for i in spent:
                values[i] = None
        last = values[-1]
        assert last is not None
        return self.classifier(F.relu(self.norm(last)).mean((2, 3)))


def _add(*values: Tensor) -> Tensor:
    return reduce(torch.add, values)


def _program(steps: list[Step], modules: list[nn.Module]) -> tuple[tuple[Callable, tuple[int, ...], list[int]], ...]:
    """List for each step the callable, its inputs, and the values to free afterwards."""
    waiting = iter(modules)
    last_use = {source: number for number, step in enumerate(steps) for source in step.sources}
    spent: list[list[int]] = [[] for _ in steps]
    for source, number in last_use.items():
        spent[number].append(source)
    calls = [_add if s.label == "+" else FUNCTIONS.get(s.label) or next(waiting) for s in steps]
    return tuple((call, step.sources, done) for call, step, done in zip(calls, steps, spent, strict=True))


def _hw(size: Size) -> tuple[int, int]:
    h, w = (size, size) if isinstance(size, int) else size
    if min(h, w) < SMALLEST:
        raise UserError(f"network: images of {h} x {w} pixels are too small; give at least {SMALLEST} x {SMALLEST}")
    return h, w


def build(
    grammar: Grammar,
    term: Term,
    *,
    channels: int = 3,
    classes: int = 10,
    size: Size = 32,
    width: int = 16,
    generator: torch.Generator | None = None,
) -> Network:
    """Build the network of a term, for images of `channels` and `size`.

    Args:
        size: pixels of a side, or height and width.
        width: output channels of the stem.
        generator: a CPU generator (None: a new one) for the weights, which follow torch's default distributions.

    Raises:
        UserError: a term of another grammar, an operation that is no primitive here, or images that are too small.
    """
    steps, (last, _, _) = flatten(grammar, term, (width, *_hw(size)))
    return reset_parameters(Network(steps, width, channels, last, classes), generator or torch.Generator())


def count_parameters(
    grammar: Grammar, term: Term, *, channels: int = 3, classes: int = 10, size: Size = 32, width: int = 16
) -> int:
    """Count the trainable parameters, from shapes alone. Raises as `build` does."""
    steps, (last, _, _) = flatten(grammar, term, (width, *_hw(size)))
    around = 9 * channels * width + 2 * width + 2 * last + (last + 1) * classes
    return around + sum(_parameters(step.label, step.shape) for step in steps if step.label in MODULES)


@lru_cache(maxsize=1000)
def _parameters(label: str, shape: Shape) -> int:
    return layers.count_parameters(MODULES[label], *shape)
