"""Initialisation of new neurons: incoming weights and biases; outgoing weights are zero.

Each function returns `count x in ...` weights and biases (`count`) for a block, given the block's captured input and
its output, both of the same forward pass.

[Maile22] Maile, Rachelson, Luga, Wilson, "When, where, and how to add new neurons to ANNs", AutoML 2022, section 4.
[Berg22] L. Berg, "BOHB over Growing ConvNets", AutoML 2022 Student Conference.
"""

import math

import torch
from torch import Tensor

from jahslib.models.growing import ranks
from jahslib.models.growing.convnet import Block

Neurons = tuple[Tensor, Tensor]


def select(block: Block, x: Tensor, output: Tensor, count: int, extra: int, generator: torch.Generator) -> Neurons:
    """Select the `count` of `count + extra` random neurons least representable by the present outputs ([Berg22]).

    Weights and biases are uniform with the standard deviation of the present ones. All are selected at once by their
    residual, not one after another.
    """
    return _least_representable(block, x, output, *_like_present(block, count + extra, generator), count)


def random(block: Block, x: Tensor, output: Tensor, count: int, extra: int, generator: torch.Generator) -> Neurons:
    """Draw Glorot-uniform directions ([Maile22] "Random")."""
    return _scaled(block, _glorot(block, count, generator))


def weight(block: Block, x: Tensor, output: Tensor, count: int, extra: int, generator: torch.Generator) -> Neurons:
    """Draw random directions orthogonal to the present weights' row space ([Maile22] "Weight").

    Where the present rows span the whole fan-in (3 x 3 kernels on one channel: from nine neurons on) there is no
    orthogonal complement, and the direction stays random.
    """
    drawn = _glorot(block, count, generator).flatten(1)
    present = block.layer.weight.flatten(1)
    _, s, rows = torch.linalg.svd(present, full_matrices=False)
    rows = rows[s > torch.finfo(s.dtype).eps * s.max() * max(present.shape)]
    off = drawn - drawn @ rows.T @ rows
    left = off.norm(dim=1, keepdim=True) > 1e-4 * drawn.norm(dim=1, keepdim=True)
    return _scaled(block, torch.where(left, off, drawn).reshape(count, *block.layer.weight.shape[1:]))


def pre(block: Block, x: Tensor, output: Tensor, count: int, extra: int, generator: torch.Generator) -> Neurons:
    """Fit weights whose pre-activations are orthogonal to the present ones ([Maile22] "Pre").

    Orthogonal as far as the block's input allows; of these the least representable by their outputs are selected.
    Convolutions fall back to `select`.
    """
    if block.is_conv:
        return select(block, x, output, count, extra, generator)
    x = x.flatten(1)
    u, s, _ = torch.linalg.svd(block.layer(x), full_matrices=False)
    u = u[:, s > torch.finfo(s.dtype).eps * s.max() * max(x.shape)]
    wanted = torch.randn(len(x), count + extra, generator=generator, device=x.device, dtype=x.dtype)
    wanted = wanted - u @ (u.T @ wanted)
    return _least_representable(block, x, output, *_scaled(block, (torch.linalg.pinv(x) @ wanted).T), count)


INITIALISATIONS = {"select": select, "random": random, "pre": pre, "weight": weight}


def _like_present(block: Block, count: int, generator: torch.Generator) -> Neurons:
    def like(present: Tensor) -> Tensor:
        drawn = torch.rand((count, *present.shape[1:]), generator=generator, device=present.device, dtype=present.dtype)
        drawn = drawn - 0.5
        # A single value, or a layer of equal biases, has no spread to match.
        spread = present.std() if present.numel() > 1 else present.abs().sum()
        return drawn * (spread / drawn.std()) if drawn.numel() > 1 else drawn * spread

    assert block.layer.bias is not None
    return like(block.layer.weight), like(block.layer.bias)


def _glorot(block: Block, count: int, generator: torch.Generator) -> Tensor:
    present = block.layer.weight
    field = math.prod(present.shape[2:])
    bound = math.sqrt(6 / (field * (present.shape[0] + present.shape[1])))
    drawn = torch.rand((count, *present.shape[1:]), generator=generator, device=present.device, dtype=present.dtype)
    return (2 * drawn - 1) * bound


def _scaled(block: Block, directions: Tensor) -> Neurons:
    """Rescale to the mean norm of the present neurons' incoming weights, with bias 0."""
    norm = block.layer.weight.flatten(1).norm(dim=1).mean()
    flat = directions.flatten(1)
    scaled = flat * (norm / flat.norm(dim=1, keepdim=True).clamp(min=torch.finfo(flat.dtype).tiny))
    return scaled.reshape(directions.shape), directions.new_zeros(len(directions))


def _least_representable(block: Block, x: Tensor, output: Tensor, w: Tensor, b: Tensor, count: int) -> Neurons:
    simulated = block.simulate(x, w, b)
    missed = ranks.residual(ranks.activation_matrix(output.float()), ranks.activation_matrix(simulated.float()))
    chosen = missed.argsort(descending=True, stable=True)[:count]
    return w[chosen], b[chosen]
