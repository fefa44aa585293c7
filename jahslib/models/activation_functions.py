"""Activation functions of the grammar "activation", and the ResNet-20 that uses them.

    model = build(term, channels=3, classes=10, generator=generator)

A term is a function of one tensor: `UnaryTopo(f)` is f, `BinaryTopo(g, f1, f2, id, id)` is g(f1(x), f2(x)). Some
functions have a trainable parameter beta per channel, initially 1; every occurrence in the network has its own.

Sources: Schrodi et al., NeurIPS 2023 (arXiv 2211.01842), whose space is that of Ramachandran et al. (arXiv 1710.05941);
He et al., CVPR 2016, section 4.2, for the network. Departure: `logexp` is computed as torch's softplus, the same
function, which does not overflow.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jahslib.errors import UserError
from jahslib.models.batch_norm import BatchNorm2d
from jahslib.models.layers import Conv2d, Linear, reset_parameters
from jahslib.spaces.grammars.terms import Term

EPSILON = 1e-6  # keeps logarithms and quotients finite at 0

# Of one tensor or of two, all of one shape; those in TRAINED take beta (`c x 1 x 1`) after them.
OPERATIONS: dict[str, Callable[..., Tensor]] = {
    **{name: getattr(torch, name) for name in ("neg", "abs", "square", "exp", "sinc", "sigmoid", "erf", "add", "sub")},
    **{name: getattr(torch, name) for name in ("sin", "cos", "sinh", "cosh", "tanh", "asinh", "atanh")},
    "id": lambda x: x,
    "cubic": lambda x: x**3,
    "square_root": torch.sqrt,
    "mconst": torch.mul,
    "aconst": torch.add,
    "log": lambda x: torch.log(x.abs() + EPSILON),
    "umax": F.relu,
    "umin": lambda x: x.clamp(max=0),
    "logexp": F.softplus,
    "gaussian": lambda x: torch.exp(-x.square()),
    "const": lambda x, beta: beta.expand_as(x),
    "multi": torch.mul,
    "div": lambda a, b: a / (b + EPSILON),
    "bmax": torch.maximum,
    "bmin": torch.minimum,
    "bsigmoid": lambda a, b: torch.sigmoid(a) * b,
    "bgaussian_sq": lambda a, b, beta: torch.exp(-beta * (a - b).square()),
    "bgaussian_abs": lambda a, b, beta: torch.exp(-beta * (a - b).abs()),
    "wavg": lambda a, b, beta: beta * a + (1 - beta) * b,
}
TRAINED = {"mconst", "aconst", "const", "bgaussian_sq", "bgaussian_abs", "wavg"}


class Activation(nn.Module):
    """The function of a term, `b x c x h x w` -> the same shape. Raises `UserError` for an unknown operation."""

    def __init__(self, term: Term, channels: int):
        super().__init__()
        operation, inner = term, []
        if term.children:
            first, *rest = (child for child in term.children if isinstance(child, Term))
            # A single child is the function itself; of several the first combines the others' results.
            operation, inner = (first, rest) if rest or not first.children else (None, [first])
        self.inputs = nn.ModuleList(Activation(child, channels) for child in inner)
        self.name = "id" if operation is None else operation.head
        if self.name not in OPERATIONS:
            raise UserError(f"activation: no operation {self.name!r}; give a term of the grammar 'activation'")
        self.beta = nn.Parameter(torch.ones(channels, 1, 1)) if self.name in TRAINED else None

    def forward(self, x: Tensor) -> Tensor:
        values = [inner(x) for inner in self.inputs] or [x]
        return OPERATIONS[self.name](*values, *([] if self.beta is None else [self.beta]))


class Block(nn.Module):
    """A basic residual block: two 3 x 3 convolutions, each with batch normalisation.

    The shortcut has no parameters ("option A"): where the block halves the image it takes every second pixel, with
    zeros for the added channels.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, term: Term):
        super().__init__()
        self.conv1 = Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)
        self.conv2 = Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn1, self.bn2 = BatchNorm2d(c_out), BatchNorm2d(c_out)
        self.act1, self.act2 = Activation(term, c_out), Activation(term, c_out)
        self.stride, self.new = stride, c_out - c_in

    def forward(self, x: Tensor) -> Tensor:
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        return self.act2(shortcut + self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x))))))


class ResNet(nn.Module):
    """A ResNet of 6n + 2 layers: `n x channels x h x w` float images -> `n x classes` logits."""

    def __init__(self, term: Term, channels: int, classes: int, width: int = 16, blocks: int = 3):
        super().__init__()
        self.conv, self.bn = Conv2d(channels, width, 3, padding=1, bias=False), BatchNorm2d(width)
        self.act = Activation(term, width)
        layers, c_in = [], width
        for stage in range(3):
            for i in range(blocks):
                c_out = width * 2**stage
                layers.append(Block(c_in, c_out, 2 if stage and i == 0 else 1, term))
                c_in = c_out
        self.layers, self.classifier = nn.Sequential(*layers), Linear(c_in, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.layers(self.act(self.bn(self.conv(x)))).mean((2, 3)))


def build(
    term: Term, *, channels: int = 3, classes: int = 10, width: int = 16, generator: torch.Generator | None = None
) -> ResNet:
    """Build the ResNet-20 with a term's activation; He's normal initialisation. Raises as `Activation`."""
    generator = generator or torch.Generator()
    model = reset_parameters(ResNet(term, channels, classes, width), generator)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=generator)
    return model
