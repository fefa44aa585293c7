"""Fast CPU convolution of small images with large kernels, by the Fourier transform.

By the convolution theorem a k x k convolution is a product at each frequency, whose cost does not grow with k. Images
of 28, 14 or 7 pixels are so small that their discrete transform is cheapest as two multiplications with dense DFT
matrices; these also pad, crop and lay out the spectrum as the products need it, frequency first. All steps are matrix
products, so autograd supplies the backward pass. The result differs from the direct convolution's by rounding alone.
"""

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

# Cost of one multiplication here in multiplications of the direct convolution: measured for 4 to 64 channels, images
# of 28, 14 and 7 pixels and kernels of 3 to 9 (transpositions and the smaller matrices included).
COST = 1.7
OVERHEAD = 5e6  # start-up time of the many small steps, in multiplications of the direct convolution
MAX_KERNEL_ELEMENTS = 2**24  # of the transformed kernel: 64 MiB in float32


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute `F.conv2d` with stride 1 and padding k // 2 (odd k) by the faster method.

    `x`: `b x c_in x h x w`; `weight`: `c_out x c_in x k x k`; returns `b x c_out x h x w`.
    """
    plain = x.device.type != "cpu" or x.dtype != weight.dtype or x.dtype not in (torch.float32, torch.float64)
    if plain or not _pays(tuple(x.shape), tuple(weight.shape)):
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
    return fourier_conv2d(x, weight, bias)


def fourier_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute `conv2d` by the Fourier transform; returns a channels-last tensor."""
    (b, c_in, h, w), (c_out, _, k, _) = x.shape, weight.shape
    rows, to_rows, to_columns, from_columns, from_rows, of_kernel = _matrices(h, w, k, x.dtype)
    frequencies = len(of_kernel) // 2

    # Rows of the real transform and, for each, columns of the complex one: frequencies x (re, im) x c_in x b
    spectrum = (to_rows @ x.permute(2, 3, 1, 0).reshape(h, -1)).view(rows, 2 * w, -1)
    spectrum = torch.bmm(to_columns.expand(rows, -1, -1), spectrum).view(frequencies, 2 * c_in, b)

    # The complex product as a real one: [[re, -im], [im, re]] of the kernel
    kernel = (of_kernel @ weight.permute(2, 3, 0, 1).reshape(k * k, -1)).view(frequencies, 2, c_out, c_in)
    real, imaginary = kernel.unbind(1)
    rotated = torch.stack([-imaginary, real], 1)
    kernel = torch.cat([kernel, rotated], -1).view(frequencies, 2 * c_out, 2 * c_in)
    spectrum = torch.bmm(kernel, spectrum).view(rows, -1, c_out * b)

    spectrum = torch.bmm(from_columns.expand(rows, -1, -1), spectrum).view(2 * rows, -1)
    if bias is None:
        y = from_rows @ spectrum
    else:
        y = torch.addmm(bias[None, :, None].expand(w, -1, b).reshape(-1), from_rows, spectrum)
    return y.view(h, w, c_out, b).permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)


@functools.cache
def _pays(x: tuple[int, ...], weight: tuple[int, ...]) -> bool:
    (b, c_in, h, w), (c_out, _, k, _) = x, weight
    reach, n_h, n_w = k // 2, h + k // 2, w + k // 2
    rows = n_h // 2 + 1
    taps = math.prod(sum(min(p, reach) + min(n - 1 - p, reach) + 1 for p in range(n)) for n in (h, w))
    direct = taps * c_in * max(c_out, 16) * b  # fewer than 16 leave vector lanes idle
    transforms = (2 * rows * h * w + 4 * n_w * w * rows) * (c_in + c_out) * b
    kernel = 2 * rows * n_w * k * k * c_in * c_out
    products = 4 * rows * n_w * c_in * c_out
    return OVERHEAD + COST * (transforms + kernel + products * b) < direct and products <= MAX_KERNEL_ELEMENTS


@functools.cache
@torch.inference_mode(False)  # a prediction may be the first to ask, and a training the next
def _matrices(h: int, w: int, k: int, dtype: torch.dtype) -> tuple:
    """Compute the row count of the half spectrum and the five matrices of `fourier_conv2d`.

    Real rows come as (frequency, re/im). A period of h + k // 2 suffices: what wraps around meets only the padding.
    """
    reach = k // 2
    n_h, n_w = h + reach, w + reach
    rows = n_h // 2 + 1

    def at(n: int) -> Tensor:
        return torch.arange(n, dtype=torch.float64)

    def angles(n: int, frequencies: int, positions: Tensor) -> Tensor:
        return 2 * math.pi / n * torch.outer(at(frequencies), positions)

    a = angles(n_h, rows, at(h))
    to_rows = torch.stack([a.cos(), -a.sin()], 1).view(2 * rows, h)
    a = angles(n_w, n_w, at(w))
    to_columns = torch.stack([a.cos(), a.sin(), -a.sin(), a.cos()], 1).view(2 * n_w, 2 * w)
    from_columns = to_columns.T / n_w
    # The other half of the spectrum is the conjugate of this one, except for the frequencies 0 and n_h / 2.
    twice = torch.full((rows,), 2.0, dtype=torch.float64)
    twice[0] = 1
    if n_h % 2 == 0:
        twice[-1] = 1
    from_rows = to_rows.T * (twice / n_h).repeat_interleave(2)
    # Conjugated and shifted to the kernel's centre, since F.conv2d is a cross-correlation.
    q = at(k) - reach
    a = angles(n_h, rows, q)[:, None, :, None] + angles(n_w, n_w, q)[None, :, None, :]
    of_kernel = torch.stack([a.cos(), a.sin()], 2).view(2 * rows * n_w, k * k)
    matrices = (to_rows, to_columns, from_columns, from_rows, of_kernel)
    return rows, *(m.to(dtype).contiguous() for m in matrices)
