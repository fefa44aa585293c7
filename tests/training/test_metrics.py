import pytest
import torch
from sklearn import metrics as reference

from jahslib.training import metrics

CLASSES = 17


def scored(n=340, seed=0):
    """Class-sorted labels, as the validation sets of study 07 are, and logits that are right about half the time."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat_interleave(-(-n // CLASSES))[:n]
    logits = torch.randn(n, CLASSES, generator=generator)
    logits[torch.arange(n), labels] += 1.5
    logits[:, 3] = -9.0  # a class never predicted
    return logits, labels


@pytest.mark.parametrize("k", [1, 3, 5])
def test_top_k_accuracy_is_sklearns(k):
    logits, labels = scored()
    expected = reference.top_k_accuracy_score(labels, logits, k=k, labels=range(CLASSES))
    assert metrics.top_k_accuracy(logits, labels, k) == pytest.approx(expected)


def test_top_k_accuracy_counts_all_when_k_exceeds_the_classes():
    assert metrics.top_k_accuracy(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]), 5) == 1.0


@pytest.mark.parametrize("n", [340, 50])  # in the first 50 samples some classes do not occur at all
def test_macro_scores_and_confusion_matrix_are_sklearns(n):
    logits, labels = scored()
    logits, labels = logits[:n], labels[:n]
    pred = logits.argmax(1)
    options = {"labels": range(CLASSES), "average": "macro", "zero_division": 0}
    precision = metrics.macro_precision(pred, labels, CLASSES)
    assert precision == pytest.approx(reference.precision_score(labels, pred, **options))
    assert metrics.macro_f1(pred, labels, CLASSES) == pytest.approx(reference.f1_score(labels, pred, **options))
    expected = reference.confusion_matrix(labels, pred, labels=range(CLASSES))
    assert (metrics.confusion_matrix(pred, labels, CLASSES).numpy() == expected).all()


@pytest.mark.parametrize("batch_size", [1, 32, 100, 290, 340, 1000])
def test_batchwise_precision_is_the_mean_of_sklearns_over_batches(batch_size):
    logits, labels = scored()
    pred = logits.argmax(1)
    total = 0.0
    for p, y in zip(pred.split(batch_size), labels.split(batch_size), strict=True):
        total += len(y) * reference.precision_score(y, p, labels=range(CLASSES), average=None, zero_division=0)
    expected = (total / len(labels)).mean()
    assert metrics.batchwise_precision(pred, labels, CLASSES, batch_size) == pytest.approx(expected)


CAPS = {4: 0.059, 16: 0.092, 64: 0.225, 100: 0.273, 128: 0.383, 160: 0.446, 200: 0.516, 240: 0.585, 280: 0.709}
CAPS |= {290: 0.779, 300: 0.792, 340: 1.0, 512: 1.0}


@pytest.mark.parametrize(("batch_size", "cap"), CAPS.items())
def test_batchwise_precision_caps_a_perfect_classifier(batch_size, cap):
    labels = torch.arange(CLASSES).repeat_interleave(20)
    assert metrics.batchwise_precision(labels, labels, CLASSES, batch_size) == pytest.approx(cap, abs=5e-4)
    assert metrics.macro_precision(labels, labels, CLASSES) == 1.0


def test_smallest_batches_that_can_meet_the_precision_constraints():
    labels = torch.arange(CLASSES).repeat_interleave(20)
    caps = {b: metrics.batchwise_precision(labels, labels, CLASSES, b) for b in range(100, 160)}
    assert [min(b for b, cap in caps.items() if cap >= bound) for bound in (0.39, 0.40, 0.42)] == [131, 136, 141]
