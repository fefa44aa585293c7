import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from jahslib.models.darts.fourier import _pays, conv2d, fourier_conv2d


def tensors(b, c_in, c_out, h, w, k, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shapes = (b, c_in, h, w), (c_out, c_in, k, k), (c_out,)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


@settings(max_examples=40, deadline=None)
@given(
    *(st.integers(1, 4) for _ in range(3)),
    *(st.integers(1, 12) for _ in range(2)),
    st.sampled_from([1, 3, 5, 7, 9]),
    st.booleans(),
    st.booleans(),
)
def test_output_and_gradients_are_those_of_the_direct_convolution(b, c_in, c_out, h, w, k, with_bias, channels_last):
    x, weight, bias = tensors(b, c_in, c_out, h, w, k)
    inputs = (x, weight, bias) if with_bias else (x, weight)
    given = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    ours = fourier_conv2d(given, *inputs[1:])
    direct = F.conv2d(*inputs, padding=k // 2)
    torch.testing.assert_close(ours, direct)
    outer = torch.randn(direct.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for a, b_ in zip(torch.autograd.grad(ours, inputs, outer), torch.autograd.grad(direct, inputs, outer), strict=True):
        torch.testing.assert_close(a, b_)


@pytest.mark.parametrize(("size", "k"), [(28, 9), (14, 7), (7, 5)])
def test_single_precision_is_as_good_as_the_direct_convolution(size, k):
    x, weight, bias = (t.detach() for t in tensors(8, 16, 16, size, size, k))
    exact = F.conv2d(x, weight, bias, padding=k // 2)
    ours = fourier_conv2d(x.float(), weight.float(), bias.float())
    assert (ours - exact).abs().max() < 3e-6 * exact.abs().max()
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_it_is_used_for_large_kernels_and_not_for_small_ones_or_huge_spectra():
    def shapes(b, c_in, c_out, n, k):
        return (b, c_in, n, n), (c_out, c_in, k, k)

    assert all(_pays(*shapes(64, c, c, n, 9)) for c, n in ((4, 28), (16, 28), (32, 14), (64, 7)))
    assert not any(_pays(*shapes(64, c, c, n, k)) for c, n in ((16, 28), (32, 14), (64, 7)) for k in (1, 3))
    assert not _pays(*shapes(64, 3, 16, 28, 9)) and not _pays(*shapes(64, 256, 256, 28, 9))


@pytest.mark.parametrize("k", [3, 9])
def test_either_way_gives_the_same(k):
    x, weight, bias = tensors(16, 8, 8, 14, 14, k, dtype=torch.float32)
    direct = F.conv2d(x, weight, bias, padding=k // 2)
    assert _pays(tuple(x.shape), tuple(weight.shape)) == (k == 9)
    assert (conv2d(x, weight, bias) - direct).abs().max() < 3e-6 * direct.abs().max()


def test_it_can_be_trained_after_a_first_use_in_inference():
    x, weight = torch.rand(2, 3, 13, 11), torch.rand(4, 3, 5, 5, requires_grad=True)
    with torch.inference_mode():
        fourier_conv2d(x, weight)
    fourier_conv2d(x, weight).sum().backward()
    assert weight.grad is not None
