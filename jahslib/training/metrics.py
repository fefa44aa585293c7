"""Classification metrics, tensors to floats, and the variants of the original studies."""

import torch
from torch import Tensor


def top_k_accuracy(logits: Tensor, labels: Tensor, k: int) -> float:
    """Compute the share of samples whose label is among the `k` largest logits (`n x classes`)."""
    top = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return (top == labels[:, None]).any(dim=1).double().mean().item()


def confusion_matrix(pred: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Count samples by true class (row) and predicted class (column): `classes x classes`; see `macro_f1`."""
    cells = labels * classes + pred
    return torch.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def macro_precision(pred: Tensor, labels: Tensor, classes: int) -> float:
    """Average the precision over classes; a class never predicted scores 0; see `macro_f1`."""
    matrix = confusion_matrix(pred, labels, classes).double()
    return (matrix.diagonal() / matrix.sum(dim=0).clamp(min=1)).mean().item()


def macro_f1(pred: Tensor, labels: Tensor, classes: int) -> float:
    """Average the F1 score over classes, 0 without samples. `pred`, `labels`: classes (`n`)."""
    matrix = confusion_matrix(pred, labels, classes).double()
    return (2 * matrix.diagonal() / (matrix.sum(dim=0) + matrix.sum(dim=1)).clamp(min=1)).mean().item()


def batchwise_precision(pred: Tensor, labels: Tensor, classes: int, batch_size: int) -> float:
    """Average the precision of consecutive batches by batch size, as study 07's original does.

    A class absent from a batch scores 0 there. On class-sorted validation data small batches hold few classes, so this
    caps the value even for a perfect classifier: with 17 classes of 20 samples .383 at batch size 128, .779 at 290,
    1 only from 340. `macro_precision` is the true metric. `pred`: as of `macro_f1`.
    """
    n = len(labels)
    batches = -(-n // batch_size)
    cell = torch.arange(n, device=pred.device) // batch_size * classes + pred
    predicted = torch.bincount(cell, minlength=batches * classes).reshape(batches, classes)
    correct = torch.bincount(cell[pred == labels], minlength=batches * classes).reshape(batches, classes)
    weight = predicted.sum(dim=1).double() / n
    return (weight @ (correct.double() / predicted.clamp(min=1))).mean().item()


def scores(logits: Tensor, labels: Tensor, classes: int) -> dict[str, float]:
    """Compute the metrics that every classification study reports."""
    predicted = logits.argmax(1)
    return {
        "top1": top_k_accuracy(logits, labels, 1),
        "top3": top_k_accuracy(logits, labels, 3),
        "top5": top_k_accuracy(logits, labels, 5),
        "macro_precision": macro_precision(predicted, labels, classes),
        "macro_f1": macro_f1(predicted, labels, classes),
    }
