"""The training loop of all studies, written for small images and small networks.

The data set is on the device as one float tensor and batches are index selections from it; activations are
channels-last, for which the CPU's pooling and normalisation kernels are fast; optimizers are fused; the loss is summed
on the device and read once an epoch. On CUDA, where networks this small wait for kernel launches, the step on a full
batch is captured once as a CUDA graph and replayed. `benchmarks/training.md` has the measured gain.

Every random number comes from a generator that the training owns: a run depends on its seed alone.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

from jahslib.errors import Count, EvaluationError, UserError, refuse_illegal, refuse_unknown
from jahslib.training import checkpoints
from jahslib.training.schedules import ANNEALINGS, SCHEDULES

OPTIMIZERS = {"adam": optim.Adam, "adamw": optim.AdamW, "adadelta": optim.Adadelta, "sgd": optim.SGD}
LOSSES = {
    "cross_entropy": F.cross_entropy,
    "mse": lambda logits, labels: F.mse_loss(logits, F.one_hot(labels, logits.shape[1]).to(logits.dtype)),
}
EVALUATION_BATCH = {"cpu": 128, "cuda": 4096}  # large batches for CUDA, batches that fit the cache for the CPU


class Diverged(EvaluationError):
    """The training loss of an epoch was not finite; the message names the epoch."""


@dataclass(frozen=True)
class Recipe:
    """Training hyperparameters of one network.

    `weight_decay` and `betas` None are torch's defaults of that optimizer. `nesterov` changes nothing at momentum 0.
    `schedule` names one of `jahslib.training.schedules.SCHEDULES`; `annealing`, one of its `ANNEALINGS`, multiplies it
    over `annealing_epochs` (None: not at all). Without `shuffle`, batches follow the order of the images. `clip` is the
    largest norm of the gradient.

    Raises:
        UserError: an unknown name, a number below its least value, or momentum with an optimizer that has none.
    """

    batch_size: Count
    learning_rate: float
    optimizer: str = "adam"
    loss: str = "cross_entropy"
    weight_decay: float | None = None
    momentum: float = 0.0
    nesterov: bool = False
    schedule: str = "constant"
    annealing: str = "cosine"
    annealing_epochs: Count | None = None
    shuffle: bool = True
    clip: float | None = None
    betas: tuple[float, float] | None = None
    amsgrad: bool = False

    def __post_init__(self):
        refuse_illegal(self, "Recipe: ")
        of_tables = {"optimizer": OPTIMIZERS, "loss": LOSSES, "schedule": SCHEDULES, "annealing": ANNEALINGS}
        for name, known in of_tables.items():
            refuse_unknown(f"Recipe: {name}", [getattr(self, name)], known)
        for name in ("momentum", "nesterov"):
            if (given := getattr(self, name)) and self.optimizer != "sgd":
                raise UserError(f"Recipe: {name} {given} is for sgd, not {self.optimizer}; leave it out")


class Training:
    """A network in training: `run` it to some epoch, `predict`, `save`, `restore`.

    `build(generator)` returns the network, its weights drawn from the CPU generator it is given, so that they are the
    same on every device. Modules with an attribute `generator` (a `torch.Generator`) are layers that draw random
    numbers: they receive the training's own generator on its device.

    `images`: uint8 `n x c x h x w`, converted once to floats in [0, 1] on the device; `labels`: class indices (`n`).
    `augment(batch, generator)` maps a float batch (`b x c x h x w`) to one of the same shape.

    `after_step(model, logits, labels, loss)` is called after each optimizer step with the results of the step's forward
    pass (`b x classes`, `b`, a scalar, on the device); it may change the model, parameters' sizes included.
    `evaluation_batch`: images per forward pass in `predict`; matters for networks that normalise by the batch's
    statistics. `drops_single`: drop an epoch's last batch where it is a single image, on which batch normalisation of
    single pixels cannot train.

    Subclasses may override `logits`, `loss`, `step` and `follow_schedule`; one that sets `stopped` trains no further
    epoch.

    On CUDA only: `bf16` runs the forward pass under bfloat16 autocast (without it cuDNN's convolutions use TF32, as
    torch does by default); `graph` captures the training step, which needs parameters and shapes that do not change.
    """

    stopped = ""

    def __init__(
        self,
        build: Callable[[torch.Generator], nn.Module],
        images: Tensor,
        labels: Tensor,
        recipe: Recipe,
        *,
        seed: int,
        device: str | torch.device = "cpu",
        augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        after_step: Callable[[nn.Module, Tensor, Tensor, Tensor], object] | None = None,
        evaluation_batch: int | None = None,
        drops_single: bool = False,
        bf16: bool = True,
        graph: bool = True,
    ):
        self.recipe, self.device, self.augment, self.after_step = recipe, torch.device(device), augment, after_step
        self.drops_single = drops_single
        self.epoch = 0
        self.losses: list[float] = []  # mean training loss of every epoch done, for the schedules
        self.evaluation_batch = evaluation_batch or EVALUATION_BATCH.get(self.device.type, 1024)
        self.generators = generators(seed, self.device)
        self.model = build(self.generators["init"]).to(self.device).to(memory_format=torch.channels_last)
        for module in self.model.modules():
            if isinstance(getattr(module, "generator", None), torch.Generator):
                module.generator = self.generators["layers"]
        self.optimizer = _optimizer(recipe, self.model, self.device)
        self._images, self._labels = placed(images, labels, self.device)
        self._bf16 = bf16 and self.device.type == "cuda"
        fixed = graph and after_step is None
        self._graph = fixed and self.device.type == "cuda" and len(images) >= recipe.batch_size
        self._graphed_step: _GraphedStep | None = None

    @torch.enable_grad()  # an interrupt that falls into the end of a `torch.no_grad` leaves gradients off
    def run(
        self, epochs: int, *, deadline: float | None = None, on_epoch: Callable[[int, float], None] | None = None
    ) -> list[float]:
        """Train until `epoch == epochs` or past the deadline; return these epochs' mean losses.

        The deadline, a `time.time()`, is checked between epochs. `on_epoch(epoch, loss)` is called after each. Raises
        `Diverged` for a mean loss that is not finite.
        """
        losses = []
        while self.epoch < epochs and not self.stopped and (deadline is None or time.time() <= deadline):
            losses.append(self._run_epoch())
            if on_epoch is not None:
                on_epoch(self.epoch, losses[-1])
        return losses

    def _run_epoch(self) -> float:
        self.model.train()
        self.follow_schedule()
        if self._graph and self._graphed_step is None:
            self._graphed_step = _GraphedStep(self)
        # Shuffled on the CPU, so that every device sees the same batches.
        n, generator = len(self._labels), self.generators["order"]
        order = torch.randperm(n, generator=generator) if self.recipe.shuffle else torch.arange(n)
        order = order.to(self.device)
        total = torch.zeros((), device=self.device)
        batches = self.batches(order)
        for rows in batches:
            images, labels = self._batch(rows)
            if self.augment is not None:
                images = self.augment(images, self.generators["augment"])
            full = len(rows) == self.recipe.batch_size
            step = self._graphed_step if self._graphed_step is not None and full else self.step
            total += step(images, labels) * len(rows)
        mean = total.item() / sum(map(len, batches))
        if not math.isfinite(mean):
            raise Diverged(f"non-finite training loss in epoch {self.epoch + 1}", self.epoch + 1)
        self.epoch += 1
        self.losses.append(mean)
        return mean

    def follow_schedule(self) -> None:
        """Set the learning rate of the next epoch."""
        rate = self.recipe.learning_rate * SCHEDULES[self.recipe.schedule](self.losses)
        if self.recipe.annealing_epochs is not None:
            rate *= ANNEALINGS[self.recipe.annealing](self.epoch, self.recipe.annealing_epochs)
        for group in self.optimizer.param_groups:
            if group["lr"] != rate:
                group["lr"] = rate
                self._graphed_step = None  # the rate is a constant of the captured step

    def batches(self, order: Tensor) -> list[Tensor]:
        """Split all rows (`n`), in the order drawn, into one epoch's batches, of which the last may be smaller.

        A single remaining image is dropped where a layer normalises by the batch, which needs two.
        """
        batches = list(order.split(self.recipe.batch_size))
        by_batch = len(batches) > 1 and any(isinstance(module, nn.BatchNorm1d) for module in self.model.modules())
        return batches[:-1] if len(batches[-1]) == 1 and (self.drops_single or by_batch) else batches

    def _batch(self, rows: Tensor, data: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        images, labels = data or (self._images, self._labels)
        return images.index_select(0, rows).permute(0, 3, 1, 2), labels.index_select(0, rows)

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Make one optimizer step on a float batch (`b x c x h x w`, on the device) and return its mean loss."""
        with self._autocast():
            logits = self.logits(images)
            loss = self.loss(logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        if self.after_step is not None:
            self.after_step(self.model, logits.detach(), labels, loss.detach())
        return loss.detach()

    def logits(self, images: Tensor) -> Tensor:
        """Compute the logits of a float batch (`b x c x h x w`)."""
        return self.model(images)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the mean loss of a batch from its logits (`b x classes`) and labels (`b`)."""
        return LOSSES[self.recipe.loss](logits, labels)

    def _autocast(self) -> torch.autocast:
        # No cache: each weight is cast once a step anyway, and a cache must not outlive the capture of a graph.
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16, cache_enabled=False)

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Tensor:
        """Compute logits (`n x classes`, float32, on the device) of uint8 images in evaluation mode."""
        self.model.eval()
        logits, batches = [], list(images.split(self.evaluation_batch))
        by_batch = any(isinstance(m, nn.BatchNorm1d) and m.running_mean is None for m in self.model.modules())
        if by_batch and len(batches) > 1 and len(batches[-1]) == 1:  # a normalisation by the batch needs two
            batches[-2:] = [torch.cat(batches[-2:])]
        for batch in batches:
            batch = batch.to(self.device, memory_format=torch.channels_last).float().div_(255)
            with self._autocast():
                logits.append(self.logits(batch).float())
        return torch.cat(logits)

    def save(self, path: str | os.PathLike) -> None:
        """Write model, optimizer, epoch and generators to `path` atomically."""
        model, optimizer = self.model.state_dict(), self.optimizer.state_dict()
        state = {"model": model, "optimizer": optimizer, "epoch": self.epoch, "losses": self.losses}
        checkpoints.write(path, self.device, self.generators, **state)

    def restore(self, path: str | os.PathLike, *, weights_only_continuation: bool = False) -> None:
        """Continue from `path` in a fresh training of the same network, on the same kind of device.

        `weights_only_continuation` leaves the optimizer fresh, as the original of study 07 does between rungs; weights
        (with the running statistics of batch normalisation), epoch and generators continue.

        Raises:
            UserError: the file is damaged, holds another network or optimizer, or comes from another kind of device.
        """
        state = checkpoints.read(path, self.device)
        with checkpoints.applied(path):
            self.model.load_state_dict(state["model"])
            if not weights_only_continuation:
                checkpoints.restore_optimizer(self.optimizer, state["optimizer"])
            checkpoints.restore(self.generators, state)
            self.epoch, self.losses = state["epoch"], list(state.get("losses", []))
        self._graphed_step = None  # it holds the addresses of the optimizer state just replaced

    def restart_optimizer(self) -> None:
        """Reset the optimizer's state, as `restore(..., weights_only_continuation=True)` does."""
        self.optimizer = _optimizer(self.recipe, self.model, self.device)
        self._graphed_step = None


def generators(seed: int, device: torch.device) -> dict[str, torch.Generator]:
    """Create independent generators: of weights and batch order on the CPU, the others on `device`."""
    places = {"init": "cpu", "order": "cpu", "augment": device, "layers": device}
    seeds = np.random.SeedSequence(seed).generate_state(len(places)).tolist()
    return {name: torch.Generator(places[name]).manual_seed(s) for name, s in zip(places, seeds, strict=True)}


def placed(images: Tensor, labels: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Move uint8 images (`n x c x h x w`) and labels (`n`) to the device, the images as floats in [0, 1].

    They are `n x h x w x c`: selecting rows keeps the memory layout, and a permuted view of them is channels-last.
    """
    pixels = images.to(device).permute(0, 2, 3, 1).contiguous().float().div_(255)
    return pixels, labels.to(device, torch.long)


def _optimizer(recipe: Recipe, model: nn.Module, device: torch.device) -> optim.Optimizer:
    options: dict = {} if recipe.weight_decay is None else {"weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        options["momentum"] = recipe.momentum
        options["nesterov"] = recipe.nesterov and recipe.momentum > 0
    else:  # SGD counts no steps and can be captured without this option
        options["capturable"] = device.type == "cuda"
    if recipe.betas is not None:
        options |= {"betas": recipe.betas, "amsgrad": recipe.amsgrad}
    if recipe.optimizer != "adadelta":  # Adadelta has no fused form
        options["fused"] = True
    return OPTIMIZERS[recipe.optimizer](model.parameters(), lr=recipe.learning_rate, **options)


class _GraphedStep:
    """`Training.step` on full batches, captured as a CUDA graph (torch's notes, "whole-network capture").

    cuDNN and the optimizer initialise lazily, so a few steps run on a side stream first. They must leave no trace:
    weights, optimizer state and generator are restored *in place*, as the graph refers to them by address.
    """

    def __init__(self, training: Training):
        model, optimizer, layers = training.model, training.optimizer, training.generators["layers"]
        self.images, self.labels = training._batch(torch.arange(training.recipe.batch_size, device=training.device))
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        moments = {value: value.clone() for value in _state_tensors(optimizer)}
        random_state = layers.get_state()
        with torch.cuda.device(training.device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    training.step(self.images, self.labels)
            torch.cuda.current_stream().wait_stream(side)
            model.load_state_dict(weights)
            for value in _state_tensors(optimizer):  # what the warm-up created is zero initially in all optimizers
                value.copy_(moments.get(value, torch.zeros_like(value)))
            layers.set_state(random_state)

            optimizer.zero_grad(set_to_none=True)  # the capture must allocate the gradients in its own pool
            self.graph = torch.cuda.CUDAGraph()
            self.graph.register_generator_state(layers)
            with torch.cuda.graph(self.graph):
                self.loss = training.step(self.images, self.labels)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.graph.replay()
        return self.loss


def _state_tensors(optimizer: optim.Optimizer) -> list[Tensor]:
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
