"""Layers that gain neurons during training.

A layer's tensors always have the size of what is active. Growth gives the same `Parameter` new data, so optimizers,
hooks and references stay valid; `state_dict` holds the present size and `load_state_dict` takes any size.

Optimizers keep moments of a parameter's size, and fused ones would read beyond them. One process-wide hook therefore
pads the state of growable parameters before each step with the optimizer's initial values; optimizers need not be
registered. That serves optimizers with element-wise state: SGD, Adam, AdamW, NAdam, RAdam, Adamax, Adadelta, Adagrad,
RMSprop, Rprop, ASGD. After growth, the next step of one with another kind of state (LBFGS, Adafactor), or of a compiled
one, raises `UserError`.

[Berg22] L. Berg, "BOHB over Growing ConvNets", AutoML 2022 Student Conference. The original allocates the largest size
and slices it; here nothing is allocated before it is needed.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from jahslib.errors import UserError
from jahslib.models import layers


class _MayGrow(nn.Module):
    """Base of growable modules: loads a `state_dict` of any size, marks its parameters for `_pad_state`."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self._mark()

    def _apply(self, *args, **options):  # to another device, out of the meta device
        super()._apply(*args, **options)
        self._mark()
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:  # of a deep copy
        super().__setstate__(state)
        self._mark()

    def _mark(self) -> None:
        for parameter in self.parameters(recurse=False):
            parameter.may_grow = True  # type: ignore[attr-defined]

    def _load_from_state_dict(self, state_dict, prefix, *args, **options):
        for name, parameter in self.named_parameters(recurse=False):
            found = state_dict.get(prefix + name)
            if found is None or found.ndim != parameter.ndim or found.shape[2:] != parameter.shape[2:]:
                continue
            if found.shape != parameter.shape:
                empty = torch.empty(found.shape, dtype=parameter.dtype, device=parameter.device)
                _become(parameter, empty.contiguous(memory_format=_memory_format(parameter)))
        for name, buffer in self.named_buffers(recurse=False):
            found = state_dict.get(prefix + name)
            if found is not None and found.shape != buffer.shape and found.ndim == buffer.ndim:
                setattr(self, name, buffer.new_empty(found.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **options)
        self._mark()  # `assign=True` replaces the parameters
        self._note_size()

    def _note_size(self) -> None:
        raise NotImplementedError


class _GrowableLayer(_MayGrow):
    """Base of growable layers: `weight` is out x in x ..., `bias` out."""

    weight: nn.Parameter
    bias: nn.Parameter | None

    def add_outputs(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Add neurons: `weight` k x in x ..., `bias` k (None: zeros). Raises `UserError` otherwise."""
        if weight.shape[1:] != self.weight.shape[1:]:
            raise UserError(
                f"add_outputs: weight of shape {tuple(weight.shape)} does not fit {tuple(self.weight.shape)}; "
                "all axes but the first must agree"
            )
        if bias is not None and bias.shape != weight.shape[:1]:
            raise UserError(f"add_outputs: bias of shape {tuple(bias.shape)} for {len(weight)} neurons; give one each")
        _append(self.weight, weight, 0)
        if self.bias is not None:
            _append(self.bias, self.bias.new_zeros(len(weight)) if bias is None else bias, 0)
        self._note_size()

    def add_inputs(self, count: int) -> None:
        """Add `count` inputs with weight zero, so that the output does not change."""
        out, _, *kernel = self.weight.shape
        _append(self.weight, self.weight.new_zeros(out, count, *kernel), 1)
        self._note_size()


class Conv2d(_GrowableLayer, layers.Conv2d):
    """A convolution whose channels grow on either side."""

    def _note_size(self) -> None:
        self.out_channels, self.in_channels = self.weight.shape[:2]


class Linear(_GrowableLayer, layers.Linear):
    """A fully connected layer whose inputs and outputs grow."""

    def _note_size(self) -> None:
        self.out_features, self.in_features = self.weight.shape


class BatchNorm(_MayGrow, _BatchNorm):
    """Batch normalisation of `n x features (x h x w)`; without running statistics as in [Berg22]."""

    def add_features(self, mean: Tensor, var: Tensor) -> None:
        """Add features (k) with scale 1, shift 0 and running statistics `mean` and `var`."""
        if self.affine:
            _append(self.weight, torch.ones_like(mean), 0)
            _append(self.bias, torch.zeros_like(mean), 0)
        if self.track_running_stats:
            assert self.running_mean is not None and self.running_var is not None
            self.running_mean = torch.cat([self.running_mean, mean.to(self.running_mean)])
            self.running_var = torch.cat([self.running_var, var.to(self.running_var)])
        self.num_features += len(mean)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of dimensions; the network decides."""

    def _note_size(self) -> None:
        found = self.weight if self.affine else self.running_mean
        self.num_features = self.num_features if found is None else len(found)


class BatchNorm1d(BatchNorm, nn.BatchNorm1d):
    """Batch normalisation of `n x features`, which needs two samples."""


def _append(parameter: nn.Parameter, more: Tensor, axis: int) -> None:
    grown = torch.cat([parameter.data, more.to(parameter)], axis)
    _become(parameter, grown.contiguous(memory_format=_memory_format(parameter)))


def _become(parameter: nn.Parameter, data: Tensor) -> None:
    """Give `parameter` data of another shape.

    While a graph of the last forward pass is alive (a loss kept in a variable), autograd continues to use the gradient
    accumulator of the old shape. It drops it on a change of type, so the data change type temporarily.
    """
    other = torch.float64 if parameter.dtype != torch.float64 else torch.float32
    parameter.grad = None
    parameter.data = torch.empty(0, dtype=other, device=parameter.device)
    parameter.data = data


def _memory_format(tensor: Tensor) -> torch.memory_format:
    last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _before_step(optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if any(getattr(p, "may_grow", False) for p in parameters):
        _pad_state(optimizer, parameters, torch.compiler.is_compiling())  # type: ignore[call-arg]  # the decorator's type


@torch.compiler.disable
def _pad_state(optimizer: Optimizer, parameters: list[Tensor], compiled: bool) -> None:
    name = type(optimizer).__name__
    if isinstance(optimizer, torch.optim.LBFGS):  # keeps vectors of all parameters together, under the first one
        last = optimizer.state[parameters[0]].get("d")
        if last is not None and len(last) != sum(p.numel() for p in parameters):
            raise UserError(f"{name} keeps directions of all parameters in one vector, {_NO_GROWTH}")
    for parameter in parameters if compiled else ():
        if vars(parameter).setdefault("compiled_for", parameter.shape) != parameter.shape:
            raise UserError(
                f"{name}: a compiled step is for parameters of one size and cannot follow growth; "
                "compile the network, not the optimizer's step"
            )
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if not getattr(parameter, "may_grow", False) or parameter not in optimizer.state:
                continue
            state = optimizer.state[parameter]
            moments = {name: value for name, value in state.items() if isinstance(value, Tensor) and value.ndim}
            shapes = {value.shape for value in moments.values()}
            if shapes <= {parameter.shape}:
                continue
            # Moments of each element share one shape, that before growth; a factored state (Adafactor) has several.
            (shape, *others) = shapes
            grown = not others and len(shape) == parameter.ndim
            if not grown or any(a > b for a, b in zip(shape, parameter.shape, strict=True)):
                kept = ", ".join(f"{key} {tuple(value.shape)}" for key, value in moments.items())
                own = tuple(parameter.shape)
                raise UserError(f"{name} keeps {kept} for a growable parameter of shape {own}, {_NO_GROWTH}")
            for key, value in moments.items():
                padded = torch.zeros_like(parameter, dtype=value.dtype, requires_grad=False)
                padded += _initial(optimizer, group, key, parameter)
                padded[tuple(slice(n) for n in value.shape)] = value
                state[key] = padded


_NO_GROWTH = "a state that is not element-wise and cannot follow growth; use an optimizer such as SGD or Adam"


def _initial(optimizer: Optimizer, group: dict[str, Any], key: str, parameter: Tensor) -> Tensor | float:
    """Return the optimizer's initial state for a new element."""
    match optimizer, key:
        case torch.optim.Rprop(), "step_size":
            return float(group["lr"])
        case torch.optim.Adagrad(), "sum":
            return float(group["initial_accumulator_value"])
        case torch.optim.ASGD(), "ax":  # the running average of the parameter starts at the parameter
            return parameter.detach()
        case _:
            return 0.0


register_optimizer_step_pre_hook(_before_step)
