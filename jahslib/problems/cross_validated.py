"""Image classification problems, by cross-validation or on the test split."""

from abc import abstractmethod
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from jahslib.core.problem import Fidelity, Job, Outcome, Problem
from jahslib.core.trials import Configuration
from jahslib.data import registry
from jahslib.errors import Count, UserError, refuse_illegal
from jahslib.extras import extra
from jahslib.training.trainer import Diverged, Recipe, Training

with extra("training"):
    import torch
    from sklearn.model_selection import StratifiedKFold
    from torch import nn

Images = tuple[torch.Tensor, torch.Tensor]  # n x c x h x w uint8, n


def first_images(loaded: registry.Dataset, per_class: int | None) -> Images:
    """Take the first `per_class` images of each class, or all, in the data set's order."""
    if per_class is None:
        return loaded.images, loaded.labels
    chosen = registry.rank_in_class(loaded.labels) < per_class
    return loaded.images[chosen], loaded.labels[chosen]


class ImageProblem(Problem):
    """Base of problems that are data classes and train on an image data set, `data`."""

    data: str
    unnamed: ClassVar = ("device",)  # fields in which comparable logs may differ

    @property
    def shape(self) -> dict[str, Any]:
        """Channels, classes and size of the images; see `jahslib.data.registry.Dataset.shape`."""
        return registry.load(self.data).shape

    @property
    def classes(self) -> int:
        """Number of classes."""
        return registry.load(self.data).classes

    def describe(self) -> dict[str, Any]:
        options = {k: v for k, v in asdict(self).items() if k not in self.unnamed}
        return super().describe() | options | self._digests()

    def _digests(self) -> dict[str, Any]:
        return {"digests": {split: registry.load(self.data, split).digest() for split in registry.splits(self.data)}}


@dataclass
class CrossValidated(ImageProblem):
    """Base of image classification problems, which define `build`, `recipe` and `measure`.

    Args:
        data: name of a data set for `jahslib.data.registry.load`.
        seed: of the stratified folds.
        split: "validation" trains on the other folds and measures on each; "test" trains on all training
            images that `per_class` leaves and measures on the whole test split.
        folds, folds_used: number of folds, and how many of them a trial trains.
        per_class: use at most this many training images per class, the first ones.
        continuation: what a promoted trial continues with: "exact" (weights, optimizer and random state: as if never
            interrupted), "weights" (a fresh optimizer at every rung) or "scratch" (nothing).
        curves: measure `curve_metric` on the validation data after every epoch.

    Raises:
        UserError: an unknown option, an impossible number of folds, or fewer images per class than folds.
    """

    data: str = "micro17flower"
    seed: int = 0
    split: Literal["validation", "test"] = "validation"
    min_epochs: int = 2
    max_epochs: int = 50
    folds: int = 3
    folds_used: int = 3
    per_class: Count | None = None
    continuation: Literal["exact", "weights", "scratch"] = "exact"
    curves: bool = False
    device: str = "cpu"

    sorted_by_class = False
    curve_metric = "top1"

    def __post_init__(self):
        refuse_illegal(self)
        self.fidelity = Fidelity(self.min_epochs, self.max_epochs)
        if not 1 <= self.folds_used <= self.folds or self.folds < 2:
            raise UserError(f"folds_used: {self.folds_used} of {self.folds} folds; give 1..folds, and at least 2 folds")
        least = self.folds if self.split == "validation" else 1
        if self.per_class is not None and self.per_class < least:
            raise UserError(f"per_class: {self.per_class} images a class for {self.folds} folds; give at least {least}")

    def check(self) -> None:
        """Load the data. Raises `UserError` where they are missing."""
        registry.load(self.data)
        if self.split == "test":
            registry.load(self.data, "test")

    @abstractmethod
    def build(self, configuration: Configuration, generator: torch.Generator) -> nn.Module:
        """Build a configuration's network, its weights drawn from a CPU generator."""

    @abstractmethod
    def recipe(self, configuration: Configuration) -> Recipe:
        """Return a configuration's training hyperparameters."""

    def options(self, configuration: Configuration) -> dict[str, Any]:
        """Return further options of `Training`."""
        return {}

    def training(self, job: Job, train: Images) -> Training:
        """Prepare the training of `job.configuration`'s network on these images."""
        c = job.configuration
        how = {"seed": job.seed, "device": self.device, **self.options(c)}
        return Training(partial(self.build, c), *train, self.recipe(c), **how)

    @abstractmethod
    def measure(self, training: Training, logits: torch.Tensor, labels: torch.Tensor, job: Job) -> dict[str, float]:
        """Compute a trained network's metrics from its logits (`n x classes`, on the CPU) on held-out images."""

    def note(self, training: Training, logits: torch.Tensor, measured: dict[str, float]) -> dict[str, Any]:
        """Return further results of one fold for the log, in JSON types."""
        return {}

    def outputs(self, notes: list[dict[str, Any]]) -> dict[str, Any]:
        """Build `Outcome.outputs` from the notes of all folds."""
        return {}

    def epochs(self, stages: tuple[float, ...]) -> float:
        own = stages[-1] if self.continuation == "scratch" else super().epochs(stages)
        return own * (1 if self.split == "test" else self.folds_used)

    def _digests(self) -> dict[str, Any]:
        return {"digest": registry.load(self.data).digest()}

    @property
    def training_images(self) -> Images:
        """Training split, or its part, in the data set's order or sorted by class."""
        return self._ordered(*first_images(registry.load(self.data), self.per_class))

    @property
    def test_images(self) -> Images:
        """Whole test split, in the same order."""
        return self._ordered(*first_images(registry.load(self.data, "test"), None))

    def _ordered(self, images: torch.Tensor, labels: torch.Tensor) -> Images:
        if not self.sorted_by_class:
            return images, labels
        order = labels.argsort(stable=True)
        return images[order], labels[order]

    def evaluate(self, job: Job) -> Outcome:
        charged, measured, losses, curve, notes = 0.0, [], [], [], []
        for fold, (train, held_out) in enumerate(self._splits()):
            training = self.training(job, train)
            start, points = self._resume(training, job, fold), []

            def record(epoch, loss, training=training, held_out=held_out, points=points):
                points.append(self._curve_point(training, held_out, job))

            on_epoch = record if self.curves else None
            try:
                losses.append(training.run(job.fidelity, deadline=job.deadline, on_epoch=on_epoch))
            except Diverged as error:
                raise Diverged(str(error), charged + error.epochs - start) from error
            if job.save is not None:
                job.save.mkdir(parents=True, exist_ok=True)
                training.save(job.save / f"fold{fold}.pt")
            charged += training.epoch - start
            curve.append(points)
            logits = training.predict(held_out[0]).cpu()
            measured.append(self.measure(training, logits, held_out[1], job))
            if training.epoch < job.fidelity:
                return Outcome(_mean(measured), charged, {"train_loss": _mean_curve(losses)}, cut=True)
            notes.append(self.note(training, logits, measured[-1]))
        curves = {"train_loss": _mean_curve(losses)} | ({self.curve_metric: _mean_curve(curve)} if self.curves else {})
        return Outcome(_mean(measured), self.epochs(job.stages), curves, self.outputs(notes))

    def _splits(self) -> list[tuple[Images, Images]]:
        images, labels = self.training_images
        if self.split == "test":
            return [((images, labels), self.test_images)]
        folds = StratifiedKFold(self.folds, shuffle=True, random_state=self.seed).split(images, labels)
        parts = [(torch.from_numpy(train), torch.from_numpy(held_out)) for train, held_out in folds]
        return [((images[a], labels[a]), (images[b], labels[b])) for a, b in parts[: self.folds_used]]

    def _resume(self, training: Training, job: Job, fold: int) -> int:
        """Bring the training to the last stage but one, and return the epoch from which epochs are charged.

        A missing checkpoint costs only time: the earlier stages are trained again, to the same bits.
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

    def _curve_point(self, training: Training, held_out: Images, job: Job) -> float:
        return self.measure(training, training.predict(held_out[0]).cpu(), held_out[1], job)[self.curve_metric]


def _mean(measured: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(m[name] for m in measured) / len(measured) for name in measured[0]}


def _mean_curve(curves: list[list[float]]) -> list[float]:
    return [sum(values) / len(values) for values in zip(*curves, strict=False)]
