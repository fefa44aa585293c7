"""Batch normalisation with precise statistics for channels-last tensors on the CPU.

There torch sums the batch pixel by pixel in float32, which for 64 images of 28 x 28 pixels leaves a relative error near
1e-5, a hundred times that of the other layout. Sums in stages are as fast and exact to rounding. Small batches are left
to torch.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEW = 4096  # values per channel up to which torch's sums are precise to 1e-6


class BatchNorm2d(nn.BatchNorm2d):
    """torch's batch normalisation where that is precise, else with statistics summed in stages."""

    running_mean: Tensor
    running_var: Tensor
    momentum: float

    def forward(self, input: Tensor, scale: Tensor | None = None) -> Tensor:
        """Normalise `b x c x h x w` -> the same shape; `scale` (0-dimensional) multiplies weight and bias."""
        weight, bias = (self.weight, self.bias) if scale is None else (scale * self.weight, scale * self.bias)
        count = input.numel() // input.shape[1]
        if not self.training or input.device.type != "cpu" or count <= FEW:
            return F.batch_norm(
                input, self.running_mean, self.running_var, weight, bias, self.training, self.momentum, self.eps
            )
        y, mean, variance = _Normalise.apply(input, weight, bias, self.eps)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return y


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean = x.mean((0, 2, 3))
        variance = (x - mean[:, None, None]).square_().mean((0, 2, 3))
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance)
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps), mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride] wants a name for each
        x, weight, mean, inverse_deviation = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        of_inputs = torch.ops.aten.native_batch_norm_backward(
            gradients[0], x, weight, None, None, mean, inverse_deviation, True, ctx.eps, wanted
        )
        return *of_inputs, None
