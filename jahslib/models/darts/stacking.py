"""Flexible stacking: any number of cells, sampled from architecture weights.

Source: the AutoML class project "DARTS with skip prevention and flexible cell stacking" (Hannover, 2024).
"""

import math

import numpy as np
import torch
from torch import Tensor

from jahslib.models.darts.cell import KERNELS, OPERATIONS, CellOperations, check_cell


def node_probabilities(alphas: Tensor) -> Tensor:
    """Compute p = softmax(alpha / sum|alpha|) per node: `6 x 5` architecture parameters -> `6 x 5` probabilities.

    Dividing by the L1 norm is the class project's choice: tiny parameters are sharpened and large ones capped, so that
    p lies between 0.084 and 0.405. Parameters that are all zero give the uniform distribution.
    """
    norm = alphas.abs().sum(dim=-1, keepdim=True)
    return torch.softmax(alphas / norm.where(norm > 0, 1), dim=-1)


def uniform_probabilities() -> Tensor:
    """Return uniform `6 x 5` probabilities: cells without a search."""
    return torch.full((len(KERNELS), len(OPERATIONS)), 1 / len(OPERATIONS))


def most_probable_cell(probabilities: Tensor) -> CellOperations:
    """Select each node's most probable operation, from `6 x 5` probabilities or parameters."""
    return tuple(OPERATIONS[i] for i in probabilities.argmax(dim=1).tolist())


def sample_cells(
    probabilities: Tensor, rng: np.random.Generator, *, levels: int = 6, candidates: int = 5
) -> list[list[CellOperations]]:
    """Sample `candidates` distinct cells per level of the stack, from `6 x 5` probabilities.

    Every node draws its operation independently. A cell that its level already has is drawn again, which the original
    did not do: its search space rejected the duplicates. Where fewer cells have a positive probability, a level gets
    all of them.
    """
    p = probabilities.double().cpu().numpy()
    p = p / p.sum(axis=1, keepdims=True)
    wanted = min(candidates, math.prod((p > 0).sum(axis=1).tolist()))
    sampled = []
    for _ in range(levels):
        level: dict[CellOperations, None] = {}  # an ordered set
        while len(level) < wanted:
            level[tuple(OPERATIONS[rng.choice(len(OPERATIONS), p=row)] for row in p)] = None
        sampled.append(list(level))
    return sampled


def to_text(cell: CellOperations) -> str:
    """Format a cell as `"conv-zero-..."`, as choices of a configuration space must be strings."""
    return "-".join(cell)


def from_text(text: str) -> CellOperations:
    """Parse a cell written by `to_text`. Raises `UserError` for anything else."""
    cell = tuple(text.split("-"))
    check_cell(cell)
    return cell
