"""DARTS on study 05's supernet, with skip prevention and early stopping.

min_alpha L_val(w*(alpha), alpha)  subject to  w*(alpha) = argmin_w L_train(w, alpha)

On every batch the architecture parameters alpha (one row per node, shared by all cells) take an Adam step on a fresh
validation batch, then the network's weights w an SGD step on the training batch (Liu et al., ICLR 2019, algorithm 1;
NASLib's order, optimizers and clipping). Every random number comes from a generator that the search owns.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn, optim

from jahslib.errors import Bounds, Count, NotNegative, Positive, Share, UserError, refuse_illegal, refuse_unknown
from jahslib.models.darts.cell import KERNELS, OPERATIONS
from jahslib.models.darts.stacking import node_probabilities
from jahslib.models.darts.supernet import Supernet
from jahslib.problems.cross_validated import Images
from jahslib.problems.darts.bilevel import architecture_gradient
from jahslib.problems.darts.skip_prevention import SCHEDULES, count_skips, ranking_is_stable, surrogate_fraction
from jahslib.training import checkpoints
from jahslib.training.losses import class_weights, focal_loss
from jahslib.training.schedules import cosine
from jahslib.training.trainer import Diverged, Recipe, Training, placed


@dataclass(frozen=True)
class Settings:
    """Options of the search phase, named as in the class project's configuration files.

    Defaults are the values of its `f1_config`. Not public, hence chosen: `surrogate_schedule`, `surrogate_start`.

    Args:
        order: 1, or 2 for the unrolled gradient with the current learning rate as its step.
        surrogate_schedule: one of `skip_prevention.SCHEDULES`; "none" is the search without skip prevention.
        apply_early_stopping: stop after an epoch in which at least `stopping_after_n_skips` of the six nodes have
            Identity as most probable operation, with a probability above `early_stopping_threshold`.
        stable_epochs: stop, too, when the ranking of the operations has not changed for this many epochs (None: never).
        grad_clip: largest norm of the weights' gradient; None does not clip.
        focal_loss_gamma, class_weight_smoothing: the loss, see `losses`.
        augment_validation: augment the batches of the architecture step, too, as the original seems to do.

    Raises:
        UserError: a value outside its range.
    """

    epochs: Count = 20
    batch_size: Annotated[int, Bounds(2)] = 64
    learning_rate: Positive = 0.005
    learning_rate_min: NotNegative = 0.001
    momentum: Share = 0.9
    weight_decay: NotNegative = 3e-4
    grad_clip: Positive | None = 5.0
    arch_learning_rate: Positive = 0.005
    arch_weight_decay: NotNegative = 1e-3
    order: Literal[1, 2] = 1
    surrogate_schedule: str = "class_project"
    surrogate_start: Share = 0.5
    apply_early_stopping: bool = True
    stopping_after_n_skips: Count = 2
    early_stopping_threshold: Share = 0.25
    stable_epochs: Count | None = None
    focal_loss_gamma: NotNegative = 3.0
    class_weight_smoothing: Share = 0.8
    augment_validation: bool = False

    def __post_init__(self):
        refuse_illegal(self, "DARTS: ")
        refuse_unknown("surrogate_schedule:", [self.surrogate_schedule], SCHEDULES)
        if self.learning_rate < self.learning_rate_min:
            raise UserError(f"learning_rate: {self.learning_rate} is below learning_rate_min {self.learning_rate_min}")


@dataclass(frozen=True)
class EpochRecord:
    """The results of one epoch.

    `alphas` are the 6 x 5 architecture parameters after it, `surrogate` its skip fraction. `skip_share` is Identity's
    mean share of the architecture weights softmax(alpha); `seconds` is wall time.
    """

    epoch: int  # from 1
    alphas: list[list[float]]
    surrogate: float
    skip_share: float
    train_loss: float
    val_loss: float
    seconds: float

    @property
    def mixture(self) -> Tensor:
        """Architecture weights softmax(alpha), `6 x 5`, with which the supernet mixes."""
        return torch.tensor(self.alphas).softmax(1)


class Darts(Training):
    """A DARTS search: `run` it, read `records` and `probabilities`, `save`, `restore`.

    `build(generator)` returns the supernet, its weights drawn from the CPU generator it is given. `train` and `val`:
    uint8 images (`n x c x h x w`) and class indices (`n`), moved to the device once. `augment(batch, generator)` maps
    a float batch to one of the same shape. `stopped` says which criterion ended the search early.
    """

    def __init__(
        self,
        build: Callable[[torch.Generator], Supernet],
        train: Images,
        val: Images,
        settings: Settings,
        *,
        seed: int,
        device: str | torch.device = "cpu",
        augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    ):
        for name, (_, labels) in (("training", train), ("validation", val)):
            if len(labels) < 2:  # batch normalisation needs two
                raise UserError(f"DARTS: {len(labels)} {name} images; give at least 2")
        c = self.settings = settings
        of_weights = {"weight_decay": c.weight_decay, "momentum": c.momentum, "nesterov": True, "clip": c.grad_clip}
        recipe = Recipe(c.batch_size, c.learning_rate, "sgd", **of_weights)
        how = {"seed": seed, "device": device, "augment": augment, "drops_single": True}
        super().__init__(build, *train, recipe, **how, bf16=False, graph=False)
        self.records: list[EpochRecord] = []
        alphas = 1e-3 * torch.randn(len(KERNELS), len(OPERATIONS), generator=self.generators["init"])
        self.alphas = nn.Parameter(alphas.to(self.device))
        self._alpha_optimizer = optim.Adam(
            [self.alphas], c.arch_learning_rate, betas=(0.5, 0.999), weight_decay=c.arch_weight_decay
        )
        self._val = placed(*val, self.device)
        self._class_weights = class_weights(train[1], self.model.classes, c.class_weight_smoothing).to(self.device)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the search stopped early."""
        return bool(self.stopped) or self.epoch >= self.settings.epochs

    @property
    def probabilities(self) -> Tensor:
        """Each node's distribution over the operations (`6 x 5`), from which cells are sampled."""
        return node_probabilities(self.alphas.detach().cpu())

    def run(  # pyright: ignore[reportIncompatibleMethodOverride] gives records, not losses
        self,
        epochs: int | None = None,
        *,
        deadline: float | None = None,
        on_epoch: Callable[[EpochRecord], None] | None = None,
    ) -> list[EpochRecord]:
        """Search up to the settings' epochs or `epochs`, early stopping or the deadline; return these epochs' records.

        The deadline, a `time.time()`, is checked between epochs; `on_epoch` is called after each. Raises `Diverged` for
        a loss that is not finite.
        """
        start = self.epoch
        until = self.settings.epochs if epochs is None else min(epochs, self.settings.epochs)
        report = None if on_epoch is None else lambda epoch, loss: on_epoch(self.records[-1])
        super().run(until, deadline=deadline, on_epoch=report)
        return self.records[start:]

    def _run_epoch(self) -> float:
        begin = time.perf_counter()
        self._train_loss = self._val_loss = torch.zeros((), device=self.device)
        batches = len(self.batches(torch.arange(len(self._labels))))
        try:
            mean = super()._run_epoch()
        except Diverged as error:
            raise Diverged(f"non-finite loss in epoch {self.epoch + 1} of DARTS", error.epochs) from None
        train, val = ((loss / batches).item() for loss in (self._train_loss, self._val_loss))
        if not math.isfinite(val):
            raise Diverged(f"non-finite loss in epoch {self.epoch} of DARTS", self.epoch)
        alphas = self.alphas.detach().cpu()
        skip_share = alphas.softmax(1)[:, OPERATIONS.index("identity")].mean().item()
        seconds = time.perf_counter() - begin
        self.records.append(EpochRecord(self.epoch, alphas.tolist(), self._fraction, skip_share, train, val, seconds))
        self.stopped = self._stop_reason()
        return mean

    def follow_schedule(self) -> None:
        c = self.settings
        self._fraction = surrogate_fraction(self.epoch, c.epochs, c.surrogate_schedule, c.surrogate_start)
        phase = cosine(self.epoch, c.epochs)
        self._rate = c.learning_rate_min + (c.learning_rate - c.learning_rate_min) * phase
        self.optimizer.param_groups[0]["lr"] = self._rate

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        some = torch.randperm(len(self._val[1]), generator=self.generators["order"])[: self.settings.batch_size]
        held_out, truth = self._batch(some.to(self.device), self._val)
        if self.settings.augment_validation and self.augment is not None:
            held_out = self.augment(held_out, self.generators["augment"])
        self._val_loss = self._val_loss + self._architecture_step((images, labels), (held_out, truth))
        loss = super().step(images, labels)
        self._train_loss = self._train_loss + loss
        return loss

    def logits(self, images: Tensor) -> Tensor:
        return self.model(images, self.alphas.detach().softmax(1), self._fraction)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return focal_loss(logits, labels, self.settings.focal_loss_gamma, self._class_weights)

    def _stop_reason(self) -> str:
        c = self.settings
        skips = count_skips(self.probabilities, c.early_stopping_threshold)
        if c.apply_early_stopping and skips >= c.stopping_after_n_skips:
            return f"{skips} of {len(KERNELS)} nodes skip"
        alphas = [torch.tensor(record.alphas) for record in self.records]
        if c.stable_epochs is not None and ranking_is_stable(alphas, c.stable_epochs):
            return f"no change of ranking for {c.stable_epochs} epochs"
        return ""

    def _architecture_step(self, train: Images, val: Images) -> Tensor:
        measured = []
        masks = self.generators["layers"]
        state = masks.get_state() if self.settings.order == 2 else None

        def loss_of(images: Tensor, labels: Tensor) -> Tensor:
            return self.loss(self.model(images, self.alphas.softmax(1), self._fraction), labels)

        def train_loss() -> Tensor:
            masks.set_state(state)  # a second-order step's three losses must have the same masks
            return loss_of(*train)

        def val_loss() -> Tensor:
            measured.append(loss_of(*val))
            return measured[-1]

        xi = self._rate if self.settings.order == 2 else 0.0
        weights = list(self.model.parameters())
        self.alphas.grad = architecture_gradient(self.alphas, weights, train_loss, val_loss, xi)
        self._alpha_optimizer.step()
        return measured[0].detach()

    def save(self, path: str | os.PathLike) -> None:
        """Write the whole state of the search to `path` atomically."""
        optimizers = [self.optimizer.state_dict(), self._alpha_optimizer.state_dict()]
        state = {"supernet": self.model.state_dict(), "alphas": self.alphas.detach(), "optimizers": optimizers}
        state |= {"records": [asdict(record) for record in self.records], "stopped": self.stopped}
        checkpoints.write(path, self.device, self.generators, **state, settings=asdict(self.settings))

    def restore(self, path: str | os.PathLike) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] always all
        """Continue from `path`. Raises `UserError` for a damaged file, other settings, supernet or kind of device."""
        state = checkpoints.read(path, self.device, again="search again")
        with checkpoints.applied(path, again="remove it and search again"):
            if differing := [k for k, v in asdict(self.settings).items() if state["settings"].get(k) != v]:
                raise UserError(
                    f"{path} belongs to a search with another {differing[0]}: search again in another place"
                )
            self.model.load_state_dict(state["supernet"])
            with torch.no_grad():
                self.alphas.copy_(state["alphas"])
            weights, alphas = state["optimizers"]
            checkpoints.restore_optimizer(self.optimizer, weights)
            checkpoints.restore_optimizer(self._alpha_optimizer, alphas)
            checkpoints.restore(self.generators, state)
            self.records = [EpochRecord(**record) for record in state["records"]]
            self.epoch = len(self.records)
            self.stopped = state["stopped"]
