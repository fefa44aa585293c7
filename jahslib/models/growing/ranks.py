"""Ranks and orthogonality of activation matrices, which measure how much of a layer is used.

An activation matrix H is samples x n, one column per neuron. All measures need its singular values only, and those are
the square roots of the eigenvalues of the n x n Gram matrix, which for samples >> n costs a fraction of the SVD.

[Maile22] Maile, Rachelson, Luga, Wilson, "When, where, and how to add new neurons to ANNs", AutoML 2022.
[Berg22] L. Berg, "BOHB over Growing ConvNets", AutoML 2022 Student Conference.
"""

import math

import numpy as np
import torch
from torch import Tensor


def activation_matrix(activations: Tensor) -> Tensor:
    """Reshape `b x n` or `b x n x h x w` to `(b h w) x n`, scaled by `1/sqrt(b)` as in [Berg22]."""
    return _flat(activations) / math.sqrt(len(activations))


def activation_singular_values(activations: Tensor) -> Tensor:
    """Compute `singular_values` of the activation matrix without forming its scaled copy."""
    return singular_values(_flat(activations), len(activations))


def _flat(activations: Tensor) -> Tensor:
    return activations.permute(0, 2, 3, 1).flatten(0, 2) if activations.ndim == 4 else activations


def singular_values(matrix: Tensor, divisor: float = 1) -> Tensor:
    """Compute the singular values of `samples x n`, divided by sqrt(`divisor`), descending, from the Gram matrix.

    Returns `min(samples, n)` values, float64, on the CPU. The product is accumulated in `matrix`'s own precision, the
    eigenvalues in float64. In float32 a singular value far below the largest, s_1, carries an error of up to about
    3e-4 s_1 (the root of the rounding error). In NumPy, as torch's dispatching would take as long as the work.
    """
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    if tall.device.type == "cpu":
        columns = tall.numpy()
        gram = columns.T @ columns  # NumPy recognises the symmetry and computes half of it
    else:
        gram = (tall.T @ tall).cpu().numpy()  # CUDA's solvers take far longer than the copy
    eigenvalues = np.linalg.eigvalsh(gram.astype(np.float64))
    return torch.from_numpy(np.sqrt(eigenvalues.clip(min=0) / divisor)[::-1].copy())


def numerical_rank(s: Tensor, epsilon: float = 0.1) -> int:
    """Count the singular values above `epsilon` ([Berg22] equation 1; [Maile22] uses .01)."""
    return int((s > epsilon).sum())


def effective_rank(s: Tensor) -> float:
    """Compute exp of the normalised singular values' entropy (Roy and Vetterli, EUSIPCO 2007; [Berg22] equation 3)."""
    values = s.cpu().numpy()
    values = values[values > 0]
    if not len(values):
        return 0.0
    p = values / values.sum()
    return math.exp(-float(p @ np.log(p)))


def orthogonality_gap(s: Tensor, samples: int) -> float:
    """Compute || H H^T / ||H||_F^2 - I / samples ||_F from the singular values of H ([Maile22] section 3)."""
    energy = s.square()
    total = energy.sum()
    if total <= 0:
        return 1.0
    return math.sqrt(max(0.0, float((energy / total).square().sum()) - 1 / samples))


def residual(basis: Tensor, candidates: Tensor) -> Tensor:
    """Compute the squared norm (k) of each candidate column's part outside the span of `basis`.

    || c - H H^+ c ||^2 ([Berg22] equation 5) for candidates `samples x k` and a basis `samples x n`, with singular
    values up to the machine epsilon not inverted.
    """
    u, s, _ = torch.linalg.svd(basis, full_matrices=False)
    u = u[:, s > torch.finfo(s.dtype).eps * s.max()]
    return (candidates - u @ (u.T @ candidates)).square().sum(0)
