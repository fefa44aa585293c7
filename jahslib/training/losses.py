"""Focal loss and the class weights of study 05."""

import torch
from torch import Tensor
from torch.nn import functional as F


def class_weights(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """Compute smoothed inverse class frequencies: `classes` weights that sum to 1.

    w_c = (1 / freq_c) / mean(1 / freq), then w_c^smoothing / sum(w^smoothing): 0 weighs all classes alike, 1 in full
    inverse proportion to their frequency among `labels`. A class that no label has gets weight 0.
    """
    counts = torch.bincount(labels, minlength=classes).double()
    present = counts > 0
    inverse = counts.clamp(min=1).reciprocal()
    weights = (inverse / inverse[present].mean()).pow(smoothing) * present
    return (weights / weights.sum()).to(torch.get_default_dtype())


def focal_loss(logits: Tensor, labels: Tensor, gamma: float, weights: Tensor | None = None) -> Tensor:
    """Compute the weighted batch mean of (1 - p)^gamma * -log p, p for the true class.

    `logits`: `b x classes`; `labels`: `b`; `weights`: one per class, of which only the ratios matter. p is the softmax
    probability. With gamma = 0 this is the weighted cross-entropy. Source: Lin et al., "Focal Loss for Dense Object
    Detection", ICCV 2017, equation 5, with the normalisation by the sum of the weights of the package focal_loss_torch
    0.1.2. Where that adds 1e-16 inside the logarithm, this works with log-probabilities.
    """
    log_p = F.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
    # The floor keeps the gradient of the power finite for a gamma below 1 where p rounds to 1.
    losses = -log_p * (-torch.expm1(log_p)).clamp(min=torch.finfo(logits.dtype).tiny).pow(gamma)
    if weights is None:
        return losses.mean()
    of_sample = weights[labels]
    return (of_sample * losses).sum() / of_sample.sum()
