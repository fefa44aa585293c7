"""Study 07's problem: the best small CNN under a limit on its size and a floor on its precision.

maximise  top3(x)   subject to   params(x) <= max_model_size,   precision(x) >= min_precision
over the configurations x of `flower_cnn.space()`, with training epochs as fidelity.
"""

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from ConfigSpace import ConfigurationSpace
from sklearn.model_selection import StratifiedKFold

from jahslib import data, metrics
from jahslib.errors import UserError
from jahslib.models import flower_cnn
from jahslib.problem import Configuration, Constraint, Fidelity, Job, Objective, Outcome, Problem
from jahslib.training import Diverged, Recipe, Training

Images = tuple[torch.Tensor, torch.Tensor]  # n x c x h x w uint8, n


@dataclass
class ConstrainedCNN(Problem):
    """Args:
    data: name of a data set for `jahslib.data.load`.
    seed: of the stratified folds, as in the original.
    split: "validation" trains on the other folds and measures on each; "test" trains on the whole training split.
    folds, folds_used: cross-validation and how many of its folds a trial trains (the original: all 3).
    per_class: use at most this many training images a class.
    space: narrower ranges for `flower_cnn.space`.
    precision: the constrained metric: the original's "batchwise_precision", which its batch size caps, or the true
        "macro_precision". Both are always measured.
    continuation: what a promoted trial continues with: "exact" (weights, optimizer and random state: as if never
        interrupted), "weights" (a fresh optimizer at every rung, as in the original) or "scratch" (nothing).
    optimizer: "adam" as in the original's search, or "adamw" as in its final evaluation script.
    curves: measure on the validation data after every epoch.
    """

    data: str = "micro17flower"
    seed: int = 0
    split: Literal["validation", "test"] = "validation"
    min_epochs: int = 2
    max_epochs: int = 50
    folds: int = 3
    folds_used: int = 3
    per_class: int | None = None
    max_model_size: float | None = 2e7
    min_precision: float | None = 0.39
    narrowed: dict[str, Any] = field(default_factory=dict)
    precision: Literal["batchwise_precision", "macro_precision"] = "batchwise_precision"
    continuation: Literal["exact", "weights", "scratch"] = "exact"
    optimizer: str = "adam"
    loss: str = "cross_entropy"
    curves: bool = False
    device: str = "cpu"

    name = "constrained_cnn"
    objective = Objective("top3", best=1.0, worst=0.0)

    def __post_init__(self):
        choices = {
            "split": ("validation", "test"),
            "precision": ("batchwise_precision", "macro_precision"),
            "continuation": ("exact", "weights", "scratch"),
        }
        for option, allowed in choices.items():
            if getattr(self, option) not in allowed:
                raise UserError(f"{option}: {getattr(self, option)!r} is unknown; choose one of {', '.join(allowed)}")
        if not 1 <= self.folds_used <= self.folds or self.folds < 2:
            raise UserError(f"folds_used: {self.folds_used} of {self.folds} folds; give 1..folds, and at least 2 folds")
        if self.max_model_size is not None and not self.max_model_size > 0:
            raise UserError(f"constraint_max_model_size: {self.max_model_size} must be positive")
        if self.min_precision is not None and not 0 <= self.min_precision <= 1:
            raise UserError(f"constraint_min_precision: {self.min_precision} is no precision; give 0..1")
        Recipe(1, 1.0, self.optimizer, self.loss)  # refuses unknown names here, at the door

    @property
    def fidelity(self) -> Fidelity:
        return Fidelity(self.min_epochs, self.max_epochs)

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        size = () if self.max_model_size is None else (Constraint("params", "<=", self.max_model_size),)
        floor = () if self.min_precision is None else (Constraint(self.precision, ">=", self.min_precision),)
        return size + floor

    @cached_property
    def space(self) -> ConfigurationSpace:
        return flower_cnn.space(**self.narrowed)

    def known(self, configuration: Configuration) -> dict[str, float]:
        loaded = data.load(self.data)
        _, channels, size, _ = loaded.images.shape
        return {
            "params": flower_cnn.count_parameters(configuration, channels=channels, classes=loaded.classes, size=size)
        }

    def epochs(self, stages: tuple[int, ...]) -> float:
        own = stages[-1] if self.continuation == "scratch" else super().epochs(stages)
        return own * self._n_trainings

    def describe(self) -> dict[str, Any]:
        options = {k: v for k, v in asdict(self).items() if k != "device"}
        return super().describe() | options | {"digest": data.load(self.data).digest()}

    @property
    def classes(self) -> int:
        return data.load(self.data).classes

    @property
    def training_images(self) -> Images:
        """The training split, sorted by class as the original's folders are: the batch-wise precision hinges on it."""
        loaded = data.load(self.data)
        order = loaded.labels.argsort(stable=True)
        if self.per_class is not None:
            sorted_labels = loaded.labels[order]
            first = torch.searchsorted(sorted_labels, sorted_labels)
            order = order[torch.arange(len(order)) - first < self.per_class]
        return loaded.images[order], loaded.labels[order]

    @property
    def test_images(self) -> Images:
        loaded = data.load(self.data, "test")
        order = loaded.labels.argsort(stable=True)
        return loaded.images[order], loaded.labels[order]

    @property
    def leaked(self) -> torch.Tensor:
        """Mask of the test images that are exact copies of training images."""
        test = data.load(self.data, "test")
        return data.duplicates_of(data.load(self.data), test)[test.labels.argsort(stable=True)]

    def evaluate(self, job: Job) -> Outcome:
        charged, measured, losses, curve = 0.0, [], [], []
        logits = torch.empty(0)
        for fold, (train, held_out) in enumerate(self._splits()):
            training = self._training(job, train)
            start, tops = self._resume(training, job, fold), []

            def record(epoch, loss, training=training, held_out=held_out, tops=tops):
                tops.append(self._top3(training, held_out))

            try:
                losses.append(
                    training.run(job.fidelity, deadline=job.deadline, on_epoch=record if self.curves else None)
                )
            except Diverged as error:
                error.epochs = charged + training.epoch + 1 - start
                raise
            if job.save is not None:
                job.save.mkdir(parents=True, exist_ok=True)
                training.save(job.save / f"fold{fold}.pt")
            charged += training.epoch - start
            curve.append(tops)
            logits = training.predict(held_out[0]).cpu()
            measured.append(self._measure(logits, held_out[1], job.configuration["batch_size"]))
            if training.epoch < job.fidelity:
                return Outcome(_mean(measured), charged, {"train_loss": _mean_curve(losses)}, cut=True)
        curves = {"train_loss": _mean_curve(losses)} | ({"top3": _mean_curve(curve)} if self.curves else {})
        return Outcome(_mean(measured), self.epochs(job.stages), curves, self._outputs(logits))

    @property
    def _n_trainings(self) -> int:
        return 1 if self.split == "test" else self.folds_used

    def _splits(self) -> list[tuple[Images, Images]]:
        images, labels = self.training_images
        if self.split == "test":
            return [((images, labels), self.test_images)]
        folds = StratifiedKFold(self.folds, shuffle=True, random_state=self.seed).split(images, labels)
        parts = [(torch.from_numpy(train), torch.from_numpy(held_out)) for train, held_out in folds]
        return [((images[a], labels[a]), (images[b], labels[b])) for a, b in parts[: self.folds_used]]

    def _training(self, job: Job, train: Images) -> Training:
        c = job.configuration
        recipe = Recipe(c["batch_size"], c["learning_rate_init"], self.optimizer, self.loss)
        _, channels, size, _ = train[0].shape

        def build(generator: torch.Generator) -> torch.nn.Module:
            return flower_cnn.build(c, channels=channels, classes=self.classes, size=size, generator=generator)

        return Training(build, *train, recipe, seed=job.seed, device=self.device)

    def _resume(self, training: Training, job: Job, fold: int) -> int:
        """Bring the training to the stage before the one asked for; returns the epoch from which epochs are charged.

        A checkpoint that is gone costs time and nothing else: the earlier stages are trained again, to the same bits.
        """
        if self.continuation == "scratch" or len(job.stages) == 1:
            return 0
        checkpoint = job.restore / f"fold{fold}.pt" if job.restore else None
        if checkpoint is not None and checkpoint.exists():
            training.restore(checkpoint, weights_only_continuation=self.continuation == "weights")
        else:
            for stage in job.stages[:-1]:
                training.run(stage)
                if self.continuation == "weights":
                    training.restart_optimizer()
        return training.epoch

    def _measure(self, logits: torch.Tensor, labels: torch.Tensor, batch_size: int) -> dict[str, float]:
        measured = _scores(logits, labels, self.classes, batch_size)
        if self.split == "test":
            kept = ~self.leaked
            without = _scores(logits[kept], labels[kept], self.classes, batch_size)
            measured |= {f"{name}_without_leaked": value for name, value in without.items()}
        return measured

    def _outputs(self, logits: torch.Tensor) -> dict[str, Any]:
        return {"predictions": logits.argmax(1).tolist()} if self.split == "test" else {}

    def _top3(self, training: Training, held_out: Images) -> float:
        return metrics.top_k_accuracy(training.predict(held_out[0]).cpu(), held_out[1], 3)


def _scores(logits: torch.Tensor, labels: torch.Tensor, classes: int, batch_size: int) -> dict[str, float]:
    predicted = logits.argmax(1)
    return {
        "top1": metrics.top_k_accuracy(logits, labels, 1),
        "top3": metrics.top_k_accuracy(logits, labels, 3),
        "top5": metrics.top_k_accuracy(logits, labels, 5),
        "batchwise_precision": metrics.batchwise_precision(predicted, labels, classes, batch_size),
        "macro_precision": metrics.macro_precision(predicted, labels, classes),
        "macro_f1": metrics.macro_f1(predicted, labels, classes),
    }


def _mean(measured: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(m[name] for m in measured) / len(measured) for name in measured[0]}


def _mean_curve(curves: list[list[float]]) -> list[float]:
    return [sum(values) / len(values) for values in zip(*curves, strict=False)]
