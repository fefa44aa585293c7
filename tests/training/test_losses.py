import math

import pytest
import torch
from torch.nn import functional as F

from jahslib.training.losses import class_weights, focal_loss

RETINA = (486, 128, 206, 194, 66)


def random(n=12, classes=5):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (n,), generator=generator), torch.rand(classes, generator=generator).double()


def labels(counts):
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def test_gamma_0_is_the_weighted_cross_entropy():
    logits, targets, weights = random()
    torch.testing.assert_close(focal_loss(logits, targets, 0.0, weights), F.cross_entropy(logits, targets, weights))
    torch.testing.assert_close(focal_loss(logits, targets, 0.0), F.cross_entropy(logits, targets))


def test_cases_computed_by_hand():
    p = torch.tensor([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25]])
    targets = torch.tensor([0, 2])
    first, second = 0.3**2 * -math.log(0.7), 0.75**2 * -math.log(0.25)
    assert focal_loss(p.log(), targets, 2.0).item() == pytest.approx((first + second) / 2)
    weighted = (1.0 * first + 4.0 * second) / 5
    assert focal_loss(p.log(), targets, 2.0, torch.tensor([1.0, 9.0, 4.0])).item() == pytest.approx(weighted)
    assert focal_loss(p.log(), targets, 2.0, torch.tensor([0.25, 7.0, 1.0])).item() == pytest.approx(weighted)


def test_the_published_form_on_probabilities_agrees():
    logits, targets, weights = random()
    p = logits.softmax(1)[torch.arange(12), targets]
    w = weights[targets]
    published = (w * (1 - p) ** 3 * -torch.log(p + 1e-16)).sum() / w.sum()
    torch.testing.assert_close(focal_loss(logits, targets, 3.0, weights), published)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 3.0])
def test_gradient(gamma):
    logits, targets, weights = random()
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, targets, gamma, weights), logits.requires_grad_())


@pytest.mark.parametrize("gamma", [0.0, 0.3, 3.0])
def test_certain_predictions_have_finite_losses_and_gradients(gamma):
    logits = torch.tensor([[200.0, 0, 0], [0, 200.0, 0]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0, 2]), gamma)
    loss.backward()
    assert loss.item() == pytest.approx(100) and logits.grad.isfinite().all()


def test_the_class_weights_of_retinamnist():
    inverse = [1 / count for count in RETINA]
    full = class_weights(labels(RETINA), 5, 1.0)
    assert full.tolist() == pytest.approx([i / sum(inverse) for i in inverse])
    assert full.tolist() == pytest.approx([0.0587, 0.2230, 0.1386, 0.1471, 0.4325], abs=1e-4)
    usual = class_weights(labels(RETINA), 5, 0.8)
    smoothed = [i**0.8 for i in inverse]
    assert usual.tolist() == pytest.approx([i / sum(smoothed) for i in smoothed])
    assert usual.tolist() == pytest.approx([0.0774, 0.2251, 0.1538, 0.1614, 0.3823], abs=1e-4)
    assert class_weights(labels(RETINA), 5, 0.0).tolist() == pytest.approx([0.2] * 5)


def test_an_absent_class_has_no_weight_and_does_not_disturb_the_others():
    weights = class_weights(labels((10, 0, 30)), 4, 1.0)
    assert weights.tolist() == pytest.approx([0.75, 0, 0.25, 0])
    assert class_weights(labels((10, 0, 30)), 4, 0.0).tolist() == pytest.approx([0.5, 0, 0.5, 0])
