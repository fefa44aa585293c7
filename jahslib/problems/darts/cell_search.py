"""Study 05's first phase, a DARTS search for cells, as a problem of one trial.

The trial log holds the architecture parameters after every epoch. Where the study sets a `place`, the search also
leaves a checkpoint there after its epochs, from which a killed one resumes exactly, and the class project's table of
architecture weights.
"""

import csv
import hashlib
import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from ConfigSpace import ConfigurationSpace
from torch import Tensor

from jahslib import paths
from jahslib.core.problem import Fidelity, Job, Objective, Outcome
from jahslib.core.trials import Trial
from jahslib.errors import Count, UserError, refuse_illegal, refuse_unknown
from jahslib.models.darts.cell import KERNELS
from jahslib.models.darts.stacking import node_probabilities, uniform_probabilities
from jahslib.models.darts.supernet import Supernet, Surrogate
from jahslib.problems.cross_validated import ImageProblem, Images
from jahslib.problems.darts.search import Darts, EpochRecord, Settings
from jahslib.problems.darts.skip_prevention import count_skips
from jahslib.problems.darts.splits import train_and_val
from jahslib.training.augment import flips_and_rotations


@dataclass
class CellSearch(ImageProblem):
    """A DARTS search as a single evaluation of an empty configuration.

    Its objective, Identity's share of the architecture weights, is only measured.

    Args:
        settings: of the search.
        network: options of `jahslib.models.darts.supernet.Supernet`: out_channels, pooling, fc, dropout.
        surrogate: how the skip path enters: "convex" (the class project) or "additive" (DARTS-).
        arch_images: what the architecture parameters learn from: "val" (the validation images, as the original seems
            to), or "half" (every second image of each class of the training images, which the weights then go
            without, as in DARTS; so that the second phase alone chooses by the validation images).
        per_class: see `splits.train_and_val`.
        augment: flip and rotate the training images.
        checkpoint_freq: epochs between checkpoints.
        save_arch_weights: keep the table of architecture weights beside the checkpoint.
        place: folder for both; None keeps neither.

    Raises:
        UserError: an unknown option, or images too small for the supernet.
    """

    data: str = "retinamnist"
    settings: Settings = field(default_factory=Settings)
    network: dict[str, Any] = field(default_factory=dict)
    surrogate: Surrogate = "convex"
    arch_images: Literal["val", "half"] = "val"
    per_class: int | None = None
    augment: bool = True
    checkpoint_freq: Count = 1
    save_arch_weights: bool = True
    place: Path | None = None
    device: str = "cpu"

    name = "cell_search"
    unnamed = ("device", "place", "checkpoint_freq", "save_arch_weights")
    objective = Objective("skip_share", best=0.0, worst=1.0)

    def __post_init__(self):
        refuse_illegal(self)
        self.fidelity = Fidelity(self.settings.epochs, self.settings.epochs)

    def check(self) -> None:
        """Load the data. Raises `UserError`: options that the supernet cannot have, or too few images."""
        self.build(torch.Generator())
        for role, (_, labels) in zip(("weights", "architecture parameters"), self.images(), strict=True):
            if len(labels) < 2:
                given = "all" if self.per_class is None else self.per_class
                raise UserError(f"per_class: {given} leaves {len(labels)} images for the {role}; give more")

    @cached_property
    def space(self) -> ConfigurationSpace:
        return ConfigurationSpace(name="cell_search")

    def build(self, generator: torch.Generator) -> Supernet:
        """Build the supernet for the data's images, its weights drawn from a CPU generator."""
        refuse_unknown("model:", self.network, ("out_channels", "pooling", "fc", "dropout"))
        return Supernet(**self.shape, surrogate=self.surrogate, generator=generator, **self.network)

    def images(self) -> tuple[Images, Images]:
        """Return the images that the weights and that the architecture parameters learn from."""
        (images, labels), val = train_and_val(self.data, self.per_class)
        if self.arch_images == "val":
            return (images, labels), val
        order = labels.argsort(stable=True)
        own, held_out = order[::2].sort().values, order[1::2].sort().values
        return (images[own], labels[own]), (images[held_out], labels[held_out])

    def stem(self, seed: int) -> str:
        """Name the files at `place`, uniquely for the search, its data and its seed."""
        identity = json.dumps([self.describe(), seed, self.device], sort_keys=True)
        return f"darts-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"

    def checkpoint(self, seed: int) -> Path | None:
        """Return the checkpoint's path for a training seed; None without a `place`."""
        return None if self.place is None else self.place / f"{self.stem(seed)}.pt"

    def evaluate(self, job: Job) -> Outcome:
        begin = time.perf_counter()
        path = self.checkpoint(job.seed)
        how = {"seed": job.seed, "device": self.device, "augment": flips_and_rotations if self.augment else None}
        darts = Darts(self.build, *self.images(), self.settings, **how)
        if path is not None and path.exists():
            darts.restore(path)
        before = sum(record.seconds for record in darts.records)

        def after(record: EpochRecord) -> None:
            if path is not None and (record.epoch % self.checkpoint_freq == 0 or darts.finished):
                darts.save(path)
                if self.save_arch_weights:
                    write_arch_weights(path.with_suffix(".csv"), darts.records)

        # time spent by killed sessions counts as well
        darts.run(deadline=None if job.deadline is None else job.deadline - before, on_epoch=after)
        names = ("skip_share", "surrogate", "train_loss", "val_loss", "seconds")
        curve = {name: [getattr(record, name) for record in darts.records] for name in names}
        metrics = {name: values[-1] for name, values in curve.items() if values and name != "seconds"}
        outputs = {"alphas": [record.alphas for record in darts.records], "stopped": darts.stopped}
        outputs["seconds"] = before + time.perf_counter() - begin
        return Outcome(metrics, darts.epoch, curve, outputs, cut=not darts.finished)


def write_arch_weights(path: Path, records: Sequence[EpochRecord]) -> None:
    """Write one row per epoch: the five weights softmax(alpha) of each of the nodes 2..7, then the epoch from 1."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*(f"node_{n}" for n in KERNELS), "epoch"])
    for record in records:
        rows.writerow([*([round(w, 6) for w in row] for row in record.mixture.tolist()), record.epoch])
    paths.write(path, text.getvalue())


# Reading a finished search ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CellsFound:
    """A finished DARTS search or one cut off by its time limit; `task`: which of a study's searches of this seed."""

    task: str
    seed: int
    problem: CellSearch
    trial: Trial

    @property
    def seconds(self) -> float:
        """Wall time, including that of killed sessions."""
        return self.trial.outputs["seconds"]

    def probabilities(self, epoch: int | None = None) -> Tensor:
        """Compute the sampling probabilities (`6 x 5`) of cells after `epoch` (None: the last); uniform after 0."""
        alphas = self.trial.outputs["alphas"][:epoch]
        return node_probabilities(torch.tensor(alphas[-1])) if alphas else uniform_probabilities()

    def epochs_until_stop(self) -> int:
        """Compute the epoch at which early stopping, which changes nothing before, would have ended the search."""
        settings, alphas = self.problem.settings, self.trial.outputs["alphas"]
        for epoch, weights in enumerate(alphas, start=1):
            skips = count_skips(node_probabilities(torch.tensor(weights)), settings.early_stopping_threshold)
            if skips >= settings.stopping_after_n_skips:
                return epoch
        return len(alphas)
