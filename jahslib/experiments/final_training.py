"""Final trainings of study 06: snapshots every few epochs (`snapshots`), resume, test by id and epoch.

An id belongs to one training: it is made of the configuration and the seed, so no two trainings share it.
"""

import shutil
from collections.abc import Iterable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from jahslib import paths
from jahslib.core.problem import Job
from jahslib.core.trials import Configuration
from jahslib.data import registry
from jahslib.errors import Bounds, Count, UserError, bounded, refuse_illegal
from jahslib.experiments import snapshots
from jahslib.extras import extra
from jahslib.problems.tuned_network import TunedNetwork
from jahslib.search.workers import InProcess
from jahslib.spaces import configurations as spaces
from jahslib.training import checkpoints
from jahslib.training.metrics import scores

with extra("training"):
    import yaml
    from torch.nn import functional as F


@dataclass(frozen=True)
class Trained:
    """A training with snapshots: folder, configuration, and test metrics by epoch."""

    place: Path
    configuration: Configuration
    tested: dict[int, dict[str, float]]

    @property
    def scalars(self) -> dict[int, dict[str, float]]:
        """Training and validation losses and accuracies, by epoch."""
        return {int(row["epoch"]): row for row in snapshots.read_scalars(self.place)}


@dataclass(frozen=True)
class FinalTraining:
    """The training of configurations with snapshots, and the choice of those to test.

    Args:
        problem: with the split "test" all training images are used and nothing is measured during training; with
            "validation" a part is held out and measured.
        experiment_dir: folder of all trainings.
        final_epochs: by default the problem's `max_epochs`.
        snapshot_every: epochs between snapshots; the last epoch has one in any case.
        snapshot: False keeps the last epoch's alone; a number is another way to give `snapshot_every`.
        valid_interval: epochs between measurements of the held-out images; 0: never.
        pre_trained_id: the training to be continued or tested, with its own configuration and seed.
        pre_trained_epoch: from, or at, this snapshot.
        fresh: start over where the training exists, unless it is named by its id.
        tensorboard: write losses and accuracies for TensorBoard as well.

    Raises:
        UserError: a number out of range; no such training or epoch, or one of another network or shape.
    """

    problem: TunedNetwork
    experiment_dir: str | Path
    seed: int = 0
    final_epochs: Count | None = None
    snapshot_every: Count = 5
    snapshot: bool | int = True
    valid_interval: Annotated[int, Bounds(0)] = 1
    pre_trained_id: str | None = None
    pre_trained_epoch: int | None = None
    fresh: bool = False
    tensorboard: bool = False

    def __post_init__(self):
        refuse_illegal(self)
        bounded("snapshot_every", self.every, Count)
        if self.pre_trained_id is not None:
            place, _ = self._pre_trained
            if self.pre_trained_epoch is not None:
                snapshots.path(place, self.pre_trained_epoch)

    @property
    def epochs(self) -> int:
        """Epochs of the whole training."""
        return self.problem.max_epochs if self.final_epochs is None else self.final_epochs

    @property
    def every(self) -> int:
        """Epochs between snapshots."""
        if isinstance(self.snapshot, bool):
            return self.snapshot_every if self.snapshot else self.epochs
        return self.snapshot

    @cached_property
    def _pre_trained(self) -> tuple[Path, dict[str, Any]]:
        """Folder of the training with the given id, and its description."""
        if self.pre_trained_id is None:
            raise UserError("pre_trained_id: none; give that of a training, the name of its folder")
        place = self._folder({}, self.pre_trained_id)
        return place, snapshots.check(place, {"network": self.problem.network, **self.problem.shape})

    def _folder(self, configuration: Configuration, training_id: str) -> Path:
        network = self.problem.network_of(configuration)
        return snapshots.folder(self.experiment_dir, self.problem.data, network, training_id)

    def train(self, configuration: Configuration) -> Trained:
        """Train a configuration, or continue the training with the given id; test all its snapshots.

        A training is continued, bit for bit on the same device, from `pre_trained_epoch` or its newest snapshot.

        Raises:
            UserError: other settings than the training's, a damaged snapshot, or values with which SGD cannot work.
        """
        return InProcess().submit(self._train, configuration).result()  # with one thread, as a search's trials

    def _train(self, configuration: Configuration) -> Trained:
        problem, seed, start = self.problem, self.seed, self.pre_trained_epoch
        if self.pre_trained_id is None:
            place = self._folder(configuration, f"{spaces.digest(configuration)}-seed{seed}")
        else:
            place, made = self._pre_trained
            configuration, seed = made["configuration"], made["seed"]
        wanted = self._made_of(configuration, seed)
        if self.fresh and self.pre_trained_id is None:
            shutil.rmtree(place, ignore_errors=True)
        if (place / "made_of.json").exists():
            snapshots.check(place, wanted)
        with closing(_events(place)) if self.tensorboard else nullcontext() as events:
            (images, labels), held_out = problem.images()
            training = problem.training(Job(configuration, (self.epochs,), seed), (images, labels))
            if start is None:
                start = max((epoch for epoch in snapshots.epochs(place) if epoch <= self.epochs), default=0)
            scalars: snapshots.Scalars = []
            if start:
                training.restore(snapshots.path(place, start))
                scalars = [row for row in snapshots.read_scalars(place) if row["epoch"] <= start]
            place.mkdir(parents=True, exist_ok=True)
            snapshots.write(place / "made_of.json", wanted)
            paths.write(place / f"{place.name}_cfg.yml", yaml.safe_dump(self._cfg(configuration, seed)))

            def after(epoch: int, loss: float) -> None:
                row = {"epoch": epoch, "train/loss": loss}
                if held_out is not None and self.valid_interval and epoch % self.valid_interval == 0:
                    logits, truth = training.predict(held_out[0]).cpu(), held_out[1]
                    row["valid/loss"] = F.cross_entropy(logits, truth).item()
                    row["valid/label_accuracy"] = (logits.argmax(1) == truth).float().mean().item()
                if events is not None:
                    for name in row.keys() - {"epoch"}:
                        events.add_scalar(name, row[name], epoch)
                scalars.append(row)
                if epoch % self.every == 0 or epoch == self.epochs:
                    snapshots.write(place / "scalars.json", scalars)
                    training.save(place / f"{epoch:03d}.pt")

            training.run(self.epochs, on_epoch=after)
        return self._tested(place, configuration, snapshots.epochs(place))

    def test(self) -> Trained:
        """Test the training with the given id at `pre_trained_epoch`, or at all its snapshots."""
        place, made = self._pre_trained
        epochs = snapshots.epochs(place) if self.pre_trained_epoch is None else [self.pre_trained_epoch]
        return InProcess().submit(self._tested, place, made["configuration"], epochs).result()

    def _tested(self, place: Path, configuration: Configuration, epochs: Iterable[int]) -> Trained:
        """Measure snapshots on the whole test split, whatever device they were made on."""
        problem, (images, labels) = self.problem, self.problem.test_images
        wanted = {"network": problem.network_of(configuration), **problem.shape}
        training = problem.training(Job(configuration, (1,), 0), (images[:1], labels[:1]))
        tested = {}
        for epoch in epochs:
            snapshots.check(place, wanted)
            file = snapshots.path(place, epoch)
            state = checkpoints.read(file)
            with checkpoints.applied(file, again="give the id of a training of this network"):
                training.model.load_state_dict(state["model"])
            tested[epoch] = scores(training.predict(images).cpu(), labels, problem.classes)
        return Trained(place, configuration, tested)

    def _made_of(self, configuration: Configuration, seed: int) -> dict[str, Any]:
        p = self.problem
        own = {"data": p.data, "digest": registry.load(p.data).digest()}
        own |= {"network": p.network_of(configuration), **p.shape}
        images = {"split": p.split, "per_class": p.per_class, "folds": p.folds, "fold_seed": p.seed}
        recipe = vars(p.recipe(configuration))
        return own | {"configuration": configuration, "recipe": recipe, "seed": seed, "images": images}

    def _cfg(self, configuration: Configuration, seed: int) -> dict[str, Any]:
        p = self.problem
        own = {name: getattr(p, name) for name in ("network", "batch_size", "schedule", "nesterov", "folds")}
        per_class = "none" if p.per_class is None else p.per_class
        own |= {"data": [p.data], "per_class": per_class, "final_split": p.split}
        own |= {"seeds": [seed], "final_epochs": self.epochs, "snapshot_every": self.every}
        return own | {"valid_interval": self.valid_interval, "tensorboard": self.tensorboard, **configuration}


def _events(place: Path):
    """Open TensorBoard's writer of a training's events."""
    with extra("tensorboard"):
        from torch.utils.tensorboard import SummaryWriter
    return SummaryWriter(str(place.parent.parent / place.parent.name.replace("snapshot_", "logger_", 1) / place.name))
