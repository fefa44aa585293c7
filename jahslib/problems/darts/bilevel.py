"""Architecture gradient of DARTS's bilevel problem, first and second order.

Source: Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def architecture_gradient(
    alphas: Tensor,
    weights: Sequence[Tensor],
    train_loss: Callable[[], Tensor],
    val_loss: Callable[[], Tensor],
    xi: float,
    radius: float = 0.01,
) -> Tensor:
    """Compute grad_alpha L_val(w - xi grad_w L_train(w, alpha), alpha).

    DARTS, equations 6 to 8. The losses are computed from the present values of `alphas` and `weights`; the latter are
    moved in between and restored bit for bit. With xi = 0 it is first order, dL_val/dalpha. Otherwise the product with
    the mixed second derivative is a central difference over `radius` / ||grad_w' L_val||; a radius as large as the
    paper's averages over the kinks of ReLU, which second derivatives at a point do not see. The unrolled step is
    equation 6's plain gradient step, whereas the authors' code includes momentum and weight decay.
    """
    if xi == 0:
        return torch.autograd.grad(val_loss(), alphas)[0]
    kept = [w.detach().clone() for w in weights]

    def at(direction: Sequence[Tensor], step: float | Tensor) -> None:
        with torch.no_grad():
            for w, w0, d in zip(weights, kept, direction, strict=True):
                w.copy_(w0 + step * d)

    try:
        at(torch.autograd.grad(train_loss(), weights, materialize_grads=True), -xi)
        gradient, *direction = torch.autograd.grad(val_loss(), [alphas, *weights], materialize_grads=True)
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(d) for d in direction]))
        epsilon = radius / norm.clamp(min=torch.finfo(norm.dtype).tiny)
        at(direction, epsilon)
        above = torch.autograd.grad(train_loss(), alphas)[0]
        at(direction, -epsilon)
        below = torch.autograd.grad(train_loss(), alphas)[0]
    finally:
        at(kept, 0)
    return gradient - xi * (above - below) / (2 * epsilon)
