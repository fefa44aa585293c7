import pytest
import torch
from torch import nn

from jahslib.models.batch_norm import BatchNorm2d


def pair(channels, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    ours, torchs = BatchNorm2d(channels).to(dtype), nn.BatchNorm2d(channels).to(dtype)
    with torch.no_grad():
        ours.weight.copy_(torch.rand(channels, generator=generator))
        ours.bias.copy_(torch.randn(channels, generator=generator))
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


def batch(*shape, dtype=torch.float64):
    x = 3 + 2 * torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


LARGE = (40, 3, 12, 11)  # beyond what is left to torch


@pytest.mark.parametrize("shape", [LARGE, (4, 3, 5, 6), (2, 8, 1, 1)])
def test_it_is_torchs_batch_normalisation(shape):
    ours, torchs = pair(shape[1])
    for _ in range(2):
        x = batch(*shape).requires_grad_()
        outer = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        results = []
        for bn in (ours, torchs):
            y = bn(x)
            results.append([y, *torch.autograd.grad(y, [x, bn.weight, bn.bias], outer)])
        torch.testing.assert_close(*results)
    torch.testing.assert_close(ours.running_mean, torchs.running_mean)
    torch.testing.assert_close(ours.running_var, torchs.running_var)
    torch.testing.assert_close(ours.eval()(x), torchs.eval()(x))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [LARGE, (3, 3, 5, 5)])
def test_scale_multiplies_the_output_and_gets_its_gradient(training, shape):
    ours, torchs = (bn.train(training) for bn in pair(3))
    x, scale = batch(*shape), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    results = []
    for y in (ours(x, scale), scale * torchs(x)):
        results.append([y, torch.autograd.grad(y.square().sum(), scale)[0]])
    torch.testing.assert_close(*results)


def test_single_precision_statistics_are_exact_to_rounding():
    x, exact = batch(64, 4, 28, 28, dtype=torch.float32), pair(4)[1]
    ours = pair(4, torch.float32)[0]
    assert (ours(x) - exact(x.double())).abs().max() < 1.5e-6
    torch.testing.assert_close(ours.running_var.double(), exact.running_var, rtol=1e-6, atol=0)


def test_one_value_a_channel_is_refused_as_in_torch():
    with pytest.raises(ValueError, match="more than 1 value"):
        BatchNorm2d(4)(torch.rand(1, 4, 1, 1))
