import pytest
import torch
from torch.nn import functional as F

from jahslib.models.darts.supernet import Supernet
from jahslib.problems.darts.bilevel import architecture_gradient

XI = 0.3  # large, so that the second-order term is no small correction


class Problem:
    """A supernet of one small cell in float64 with a training and a validation batch."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.supernet = Supernet(size=8, out_channels=(4,), pooling=(True,), fc=(), generator=generator).double()
        self.alphas = torch.randn(6, 5, generator=generator, dtype=torch.float64).requires_grad_()
        self.weights = list(self.supernet.parameters())
        self.batches = torch.rand(2, 10, 3, 8, 8, generator=generator, dtype=torch.float64)
        self.labels = torch.randint(5, (2, 10), generator=generator)

    def loss(self, i, alphas):
        return F.cross_entropy(self.supernet(self.batches[i], alphas.softmax(1), 0.2), self.labels[i])

    def train_loss(self):
        return self.loss(0, self.alphas)

    def val_loss(self):
        return self.loss(1, self.alphas)

    def gradient(self, xi, **options):
        return architecture_gradient(self.alphas, self.weights, self.train_loss, self.val_loss, xi, **options)

    def unrolled(self, alphas):
        """L_val(w - xi grad_w L_train(w, alpha), alpha), evaluated without any shortcut."""
        steps = torch.autograd.grad(self.loss(0, alphas), self.weights)
        kept = [w.detach().clone() for w in self.weights]
        with torch.no_grad():
            for w, step in zip(self.weights, steps, strict=True):
                w -= XI * step
            value = self.loss(1, alphas).item()
            for w, w0 in zip(self.weights, kept, strict=True):
                w.copy_(w0)
        return value


def test_second_order_agrees_with_finite_differences_of_the_unrolled_loss():
    problem, h = Problem(), 1e-6
    directions = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    start = problem.alphas.detach()
    expected = [(problem.unrolled(start + h * d) - problem.unrolled(start - h * d)) / (2 * h) for d in directions]
    # A radius that, like h, is smaller than the distance to the next kink of a ReLU.
    first, second = problem.gradient(0.0), problem.gradient(XI, radius=1e-6)
    assert [(second * d).sum().item() for d in directions] == pytest.approx(expected, rel=1e-5)
    assert [(first * d).sum().item() for d in directions] != pytest.approx(expected, rel=0.2)


def test_first_order_is_the_plain_gradient_and_the_limit_of_a_vanishing_step():
    problem = Problem()
    plain = torch.autograd.grad(problem.val_loss(), problem.alphas)[0]
    assert torch.equal(problem.gradient(0.0), plain)
    torch.testing.assert_close(problem.gradient(1e-9, radius=1e-5), plain, rtol=1e-6, atol=1e-9)


def test_the_weights_come_back_bit_for_bit_even_after_an_error():
    problem = Problem()
    before = [w.detach().clone() for w in problem.weights]
    problem.gradient(XI)
    assert all(torch.equal(w, w0) for w, w0 in zip(problem.weights, before, strict=True))

    def broken():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        architecture_gradient(problem.alphas, problem.weights, problem.train_loss, broken, XI)
    assert all(torch.equal(w, w0) for w, w0 in zip(problem.weights, before, strict=True))
    assert all(w.grad is None for w in problem.weights)
