"""How much of its room a layer uses: ranks and orthogonality of activation matrices.

An activation matrix H is samples x n, one column a neuron. All measures need its singular values only, and those are
the square roots of the eigenvalues of the n x n Gram matrix, which for samples >> n costs a fraction of the SVD.

[Maile22] Maile, Rachelson, Luga, Wilson, "When, where, and how to add new neurons to ANNs", AutoML 2022.
[Berg22] L. Berg, "BOHB over Growing ConvNets", AutoML 2022 Student Conference.
"""

import math

import numpy as np
import torch
from torch import Tensor


def activation_matrix(activations: Tensor) -> Tensor:
    """`b x n` or `b x n x h x w` -> `(b h w) x n`, scaled by `1/sqrt(b)` (by the batch only, [Berg22])."""
    return _flat(activations) / math.sqrt(len(activations))


def activation_singular_values(activations: Tensor) -> Tensor:
    """`singular_values` of the activation matrix, which is not made: its few eigenvalues are scaled instead."""
    return _roots(_flat(activations), len(activations))


def _flat(activations: Tensor) -> Tensor:
    return activations.permute(0, 2, 3, 1).flatten(0, 2) if activations.ndim == 4 else activations


def singular_values(matrix: Tensor) -> Tensor:
    """Singular values of `samples x n`, descending (float64, on the CPU, `min(samples, n)`), from the Gram matrix.

    The product is accumulated in `matrix`'s own precision, the eigenvalues in float64. In float32 a singular value far
    below the largest, s_1, carries an error of up to about 3e-4 s_1 (the root of the rounding error).
    """
    return _roots(matrix, 1)


def _roots(matrix: Tensor, divisor: int) -> Tensor:
    """Singular values of `matrix / sqrt(divisor)`. In NumPy: a network asks for these at every step, on matrices so
    small that torch's dispatching would take as long as the work."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    if tall.device.type == "cpu":
        columns = tall.numpy()
        gram = columns.T @ columns  # NumPy sees that this is symmetric and computes half of it
    else:
        gram = (tall.T @ tall).cpu().numpy()  # CUDA's solvers take far longer than the copy
    eigenvalues = np.linalg.eigvalsh(gram.astype(np.float64))
    return torch.from_numpy(np.sqrt(eigenvalues.clip(min=0) / divisor)[::-1].copy())


def numerical_rank(s: Tensor, epsilon: float = 0.1) -> int:
    """Number of singular values above `epsilon` ([Berg22] equation 1; [Maile22] uses .01)."""
    return int((s > epsilon).sum())


def effective_rank(s: Tensor) -> float:
    """exp of the entropy of the normalised singular values (Roy and Vetterli, EUSIPCO 2007; [Berg22] equation 3)."""
    values = s.cpu().numpy()
    values = values[values > 0]
    if not len(values):
        return 0.0
    p = values / values.sum()
    return math.exp(-float(p @ np.log(p)))


def orthogonality_gap(s: Tensor, samples: int) -> float:
    """|| H H^T / ||H||_F^2 - I / samples ||_F, from the singular values of H (`samples x n`) ([Maile22] section 3)."""
    energy = s.square()
    total = energy.sum()
    if total <= 0:
        return 1.0
    return math.sqrt(max(0.0, float((energy / total).square().sum()) - 1 / samples))


def residual(basis: Tensor, candidates: Tensor) -> Tensor:
    """Squared norm (k) of what of each candidate column (`samples x k`) the columns of `basis` (`samples x n`) miss.

    || c - H H^+ c ||^2 ([Berg22] equation 5), with singular values up to the machine epsilon not inverted.
    """
    u, s, _ = torch.linalg.svd(basis, full_matrices=False)
    u = u[:, s > torch.finfo(s.dtype).eps * s.max()]
    return (candidates - u @ (u.T @ candidates)).square().sum(0)
