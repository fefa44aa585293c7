"""Training and storage of stacks of cells, as `StackedCells.space` configures them."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from jahslib import paths
from jahslib.core.problem import Job
from jahslib.core.trials import Configuration
from jahslib.models.darts import cell as darts_cell
from jahslib.models.darts.cell import Architecture, Network
from jahslib.models.darts.stacking import from_text
from jahslib.problems.cross_validated import Images
from jahslib.problems.darts.skip_prevention import surrogate_fraction
from jahslib.training import checkpoints
from jahslib.training.augment import flips_and_rotations
from jahslib.training.losses import class_weights, focal_loss
from jahslib.training.trainer import Recipe, Training


def architecture(configuration: Configuration) -> Architecture:
    """Build the architecture that a configuration describes."""
    c, cells, fc = configuration, range(1, configuration["n_cells"] + 1), range(1, configuration["n_fc_layers"] + 1)
    return Architecture(
        cells=tuple(from_text(c[f"cell_{i}"]) for i in cells),
        channels=tuple(c[f"out_channels_{i}"] for i in cells),
        pooling=tuple(c.get(f"use_max_pooling_{i}", False) for i in cells),
        fc=tuple(c[f"n_out_features_fc_{i}"] for i in fc),
        dropout=c["dropout"],
        surrogate=c["use_surrogate"],
    )


class StackTraining(Training):
    """Training of a stack: focal loss with smoothed class weights, one-cycle rate, fading skip.

    Both schedules run over `job.fidelity` epochs. The cycle changes the rate only: momentum and beta1, which torch's
    OneCycleLR would change as well, stay as the configuration has them. Class weights come from the training labels. An
    epoch's last batch is dropped where it is a single image, on which batch normalisation cannot train once poolings
    have made it one pixel.
    """

    def __init__(self, job: Job, train: Images, shape: dict[str, int], *, augment: bool, device: str):
        c = job.configuration
        stack = architecture(c)
        cycle = c["lr_scheduler"] == "OneCycleLR"
        rate = c["lr_w_schedule"] if cycle else c["lr_wo_schedule"]
        super().__init__(
            lambda generator: darts_cell.build(stack, **shape, generator=generator),
            *train,
            _recipe(c, rate),
            seed=job.seed,
            device=device,
            augment=flips_and_rotations if augment else None,
            drops_single=True,
            graph=False,  # the rate changes with every step
        )
        self.epochs, self._gamma = job.fidelity, c["focal_loss_gamma"]
        weights = class_weights(train[1], shape["classes"], c["loss_class_weight_smoothing"])
        self._class_weights = weights.to(self.device)
        self._cycle = None
        if cycle:
            steps = self.epochs * len(self.batches(torch.arange(len(train[1]))))
            self._cycle = OneCycleLR(self.optimizer, max_lr=rate, total_steps=steps, cycle_momentum=False)

    def follow_schedule(self) -> None:
        assert isinstance(self.model, Network)
        self.model.surrogate.fill_(surrogate_fraction(self.epoch, self.epochs))

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return focal_loss(logits.float(), labels, self._gamma, self._class_weights)

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        loss = super().step(images, labels)
        if self._cycle is not None:
            self._cycle.step()
        return loss


def save_stack(
    folder: Path, training: Training, job: Job, shape: Mapping[str, int], metrics: Mapping[str, float]
) -> Path:
    """Write a network to `folder` as SEED.pt and, for people, SEED.json. Raises `UserError` where it cannot."""
    made_of = {"configuration": job.configuration, "shape": dict(shape), "seed": job.seed, "epochs": training.epoch}
    path = folder / f"{job.seed}.pt"
    checkpoints.write(path, training.device, {}, model=training.model.state_dict(), **made_of)
    paths.write(path.with_suffix(".json"), json.dumps(made_of | {"metrics": dict(metrics)}, indent=1) + "\n")
    return path


def load_stack(path: Path) -> Network:
    """Load what `save_stack` wrote, in evaluation mode. Raises `UserError` for a missing, damaged or other file."""
    state = checkpoints.read(path)
    with checkpoints.applied(path, again="give a file that a final training of study 05 left"):
        made = darts_cell.build(architecture(state["configuration"]), **state["shape"])
        made.load_state_dict(state["model"])
    return made.eval()


def _recipe(c: Configuration, rate: float) -> Recipe:
    shared = {"optimizer": c["optimizer"], "weight_decay": c.get("weight_decay", 0.0)}
    if c["optimizer"] == "sgd":
        return Recipe(c["batch_size"], rate, **shared, momentum=c["momentum"], nesterov=c["nesterov"])
    return Recipe(c["batch_size"], rate, **shared, betas=(c["beta1"], c["beta2"]), amsgrad=c["amsgrad"])
