"""Study 05's second phase as a problem: stacking of cells, and training of the stack.

maximise  acc(x) or macro F1(x)   over   architecture and training x,   with training epochs as fidelity

Source: the AutoML class project "DARTS with skip prevention and flexible cell stacking" (Hannover, 2024). Every trial
trains from scratch, as its learning-rate schedule and its surrogate skip run over the trial's own number of epochs.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    Constant,
    EqualsCondition,
    Float,
    GreaterThanCondition,
    InCondition,
    Integer,
)
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from jahslib.core.problem import Constraint, Fidelity, Job, Objective, Outcome
from jahslib.core.trials import Configuration
from jahslib.data import registry
from jahslib.errors import Positive, UserError, refuse_illegal
from jahslib.models.darts.cell import Architecture, Network
from jahslib.models.darts.stacking import from_text
from jahslib.problems.cross_validated import ImageProblem, Images
from jahslib.problems.darts.splits import resplit, train_and_val
from jahslib.problems.darts.stack_training import StackTraining, architecture, save_stack
from jahslib.training import metrics
from jahslib.training.metrics import scores
from jahslib.training.trainer import Training

MOST_CELLS, MOST_FC = 6, 3
MOST_POOLED = 4  # cells that a pooling may follow: 28 -> 14 -> 7 -> 3 -> 1 pixels
MEASURES = {"acc": "top1", "f1": "macro_f1"}

Levels = tuple[tuple[str, ...], ...]  # of the stack, each with its candidate cells, as text
Range = tuple[int, int]


@lru_cache(maxsize=4096)
def size_of(architecture: Architecture, channels: int, classes: int, size: int) -> dict[str, float]:
    """Count `params`, and `mflops` to classify one image: two operations per multiply-accumulate, in millions."""
    with torch.device("meta"):
        model = Network(architecture, channels, classes, torch.Generator()).eval()
        images = torch.empty(1, channels, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    params = sum(parameter.numel() for parameter in model.parameters())
    return {"params": float(params), "mflops": counter.get_total_flops() / 1e6}


@dataclass
class StackedCells(ImageProblem):
    """Stacks of cells, each trained from scratch to the requested fidelity.

    Args:
        cells: for each level of the stack the cells to choose from, as `stacking.to_text` writes them.
        performance_measure: what is maximised: "acc" (top-1 accuracy) or "f1" (macro F1); both are always measured.
        split: "validation" measures on the validation images; "test" trains on the same images, measures on the test
            split, and on the validation images once more, under names that begin with `val_`.
        resplit: divide training and validation images anew for every trial, by its seed, as the original does.
        per_class: see `splits.train_and_val`.
        max_mflops: reject networks that need more to classify an image; None rejects none.
        widths, fc_widths, batch_sizes: ranges of what is searched.
        batch_size: the default, that of the first phase.
        augment: flip and rotate the training images.
        keep: folder that receives the trained network of every trial, see `stack_training.save_stack`; None keeps none.

    Raises:
        UserError: an unknown option, an invalid cell, or images too small for what is asked.
    """

    data: str = "retinamnist"
    cells: Levels = ()
    performance_measure: Literal["acc", "f1"] = "acc"
    min_epochs: int = 5
    max_epochs: int = 20
    split: Literal["validation", "test"] = "validation"
    resplit: bool = False
    per_class: int | None = None
    max_mflops: Positive | None = None
    widths: Range = (8, 256)
    fc_widths: Range = (8, 256)
    batch_sizes: Range = (16, 256)
    batch_size: int = 64
    augment: bool = True
    keep: Path | None = None
    device: str = "cpu"

    name = "stacked_cells"
    unnamed = ("device", "keep")

    def __post_init__(self):
        refuse_illegal(self)
        if not 1 <= len(self.cells) <= MOST_CELLS or not all(self.cells):
            raise UserError(f"cells: {len(self.cells)} levels; give 1..{MOST_CELLS}, each with at least one cell")
        for level in self.cells:
            for cell in level:
                from_text(cell)
        for name, least in (("widths", 4), ("fc_widths", 1), ("batch_sizes", 2)):
            low, high = getattr(self, name)
            if not least <= low < high:
                raise UserError(f"{name}: ({low}, {high}) is no range; give {least} <= lower < upper")
        self.fidelity = Fidelity(self.min_epochs, self.max_epochs)
        self.objective = Objective(MEASURES[self.performance_measure], best=1.0, worst=0.0)
        self.constraints = () if self.max_mflops is None else (Constraint("mflops", "<=", self.max_mflops),)

    def check(self) -> None:
        """Load the data and build the space. Raises `UserError` where data are missing or too few."""
        self.images(0)
        registry.load(self.data, "test" if self.split == "test" else "train")
        assert len(self.space)

    @cached_property
    def space(self) -> ConfigurationSpace:
        """The class project's space, a level's hyperparameters being active only with it.

        Omitted are those that changed nothing there (`use_BN` seven times, `global_avg_pooling`) and those that were
        constants. Hyperparameters of the cells' own training have the project's names.
        """
        made = ConfigurationSpace(name="stacked_cells")
        poolings = min(MOST_POOLED, self.shape["size"].bit_length() - 1)  # the first cells, which a pooling may follow
        most = len(self.cells)
        n_cells = Integer("n_cells", (1, most), default=min(3, most)) if most > 1 else None
        made.add(n_cells or Constant("n_cells", 1))
        for i, cells in enumerate(self.cells, start=1):
            first, *others = cells
            cell = Categorical(f"cell_{i}", [first, *others]) if others else Constant(f"cell_{i}", first)
            own: list = [cell, Integer(f"out_channels_{i}", self.widths, log=True)]
            if i <= poolings:
                own.append(Categorical(f"use_max_pooling_{i}", [True, False]))
            made.add(*own)
            if n_cells and i > 1:
                made.add(*(GreaterThanCondition(h, n_cells, i - 1) for h in own))

        n_fc = Integer("n_fc_layers", (1, MOST_FC), default=1)
        made.add(n_fc)
        for i in range(1, MOST_FC + 1):
            width = Integer(f"n_out_features_fc_{i}", self.fc_widths, log=True)
            made.add(width)
            if i > 1:
                made.add(GreaterThanCondition(width, n_fc, i - 1))
        made.add(Float("dropout", (0.0, 0.9), default=0.2), Categorical("use_surrogate", [True, False], default=False))

        nearest = min(max(self.batch_size, self.batch_sizes[0]), self.batch_sizes[1])
        made.add(Integer("batch_size", self.batch_sizes, default=nearest, log=True))
        made.add(Float("loss_class_weight_smoothing", (0.0, 1.0), default=0.8))
        made.add(Float("focal_loss_gamma", (0.0, 5.0), default=3.0))
        optimizer = Categorical("optimizer", ["sgd", "adam", "adamw"], default="adamw")
        of_sgd = [Float("momentum", (0.0, 0.9999), default=0.9), Categorical("nesterov", [True, False])]
        of_adam = [Float("beta1", (0.5, 0.9999), default=0.5), Float("beta2", (0.9, 0.9999), default=0.9)]
        of_adam.append(Categorical("amsgrad", [True, False], default=False))
        scheduler = Categorical("lr_scheduler", ["none", "OneCycleLR"], default="OneCycleLR")
        constant = Float("lr_wo_schedule", (1e-5, 1.0), default=1e-5, log=True)
        cycled = Float("lr_w_schedule", (1e-5, 1e-1), default=1e-5, log=True)
        decays = Categorical("use_weight_decay", [True, False], default=False)
        decay = Float("weight_decay", (1e-8, 0.1), log=True)
        made.add(optimizer, *of_sgd, *of_adam, scheduler, constant, cycled, decays, decay)
        made.add(
            *(EqualsCondition(h, optimizer, "sgd") for h in of_sgd),
            *(InCondition(h, optimizer, ["adam", "adamw"]) for h in of_adam),
            EqualsCondition(constant, scheduler, "none"),
            EqualsCondition(cycled, scheduler, "OneCycleLR"),
            EqualsCondition(decay, decays, True),
        )
        return made

    def known(self, configuration: Configuration) -> dict[str, float]:
        return size_of(architecture(configuration), **self.shape)

    def epochs(self, stages: tuple[float, ...]) -> float:
        """Charge all epochs, as a promoted trial starts over."""
        return stages[-1]

    def images(self, seed: int) -> tuple[Images, Images]:
        """Return the training and validation images of a trial of this seed."""
        train, val = train_and_val(self.data, self.per_class)
        return resplit(train, val, seed) if self.resplit else (train, val)

    def training(self, job: Job, train: Images) -> StackTraining:
        """Build the training of a job's network on `train`."""
        return StackTraining(job, train, self.shape, augment=self.augment, device=self.device)

    def evaluate(self, job: Job) -> Outcome:
        train, val = self.images(job.seed)
        training = self.training(job, train)
        losses = training.run(job.fidelity, deadline=job.deadline)
        measured, outputs = self._measure(training, val)
        if self.split == "test":
            test = registry.load(self.data, "test")
            of_val = {f"val_{name}": value for name, value in measured.items()}
            measured, outputs = self._measure(training, (test.images, test.labels))
            measured |= of_val
        if self.keep is not None and training.epoch == job.fidelity:
            save_stack(self.keep, training, job, self.shape, measured)
        return Outcome(measured, training.epoch, {"train_loss": losses}, outputs, cut=training.epoch < job.fidelity)

    def _measure(self, training: Training, held_out: Images) -> tuple[dict[str, float], dict[str, Any]]:
        logits, labels = training.predict(held_out[0]).cpu(), held_out[1]
        matrix = metrics.confusion_matrix(logits.argmax(1), labels, self.classes)
        of_class = (matrix.diagonal() / matrix.sum(1).clamp(min=1)).tolist()
        measured = scores(logits, labels, self.classes) | {"cross_entropy": F.cross_entropy(logits, labels).item()}
        return measured, {"class_accuracy": [round(value, 4) for value in of_class]}
