"""Final trainings of study 06: one network, snapshots every few epochs, resume from the newest, test by id and epoch.

    EXPERIMENT_DIR/snapshot_DATA_NETWORK/ID/made_of.json    what is trained, how, on what
                                            ID_cfg.yml      every option, to be given as `cfg` again
                                            scalars.json    losses and accuracies of every epoch
                                            005.pt, 010.pt  snapshots, named by the epochs trained
    EXPERIMENT_DIR/logger_DATA_NETWORK/ID/                  TensorBoard events, if asked for

An id belongs to one training: by default it is made of the configuration and the seed, so no two trainings share it.
Snapshots hold tensors only and are loaded as such (`weights_only`): opening one runs none of its contents.
"""

import json
import re
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.nn import functional as F

from jahslib import paths
from jahslib.core.problem import Job
from jahslib.core.trials import Configuration
from jahslib.data import registry
from jahslib.errors import UserError
from jahslib.problems.tuned_network import TunedNetwork
from jahslib.spaces import configurations as spaces
from jahslib.training import checkpoints
from jahslib.training.metrics import scores
from jahslib.training.trainer import Training

Scalars = list[dict[str, float]]


def identity(configuration: Configuration, seed: int) -> str:
    """The default id of a training, such as 5feceb66-seed0."""
    return f"{spaces.digest(configuration)}-seed{seed}"


def folder(experiment_dir: str | Path, problem: TunedNetwork, configuration: Configuration, id: str) -> Path:
    """Where the snapshots of a training stand.

    Raises:
        UserError: an id that is no plain name.
    """
    if not isinstance(id, str) or not re.fullmatch(r"\w[\w.-]*", id):
        raise UserError(f"pre_trained_id: {id!r} is no id; give letters, digits, '-', '_' and '.' only")
    return Path(experiment_dir) / f"snapshot_{problem.data}_{problem.network_of(configuration)}" / id


def made_of(problem: TunedNetwork, configuration: Configuration, seed: int) -> dict[str, Any]:
    """What two trainings must share for one to continue the other, in JSON types."""
    own = {"data": problem.data, "digest": registry.load(problem.data).digest()}
    own |= {"network": problem.network_of(configuration), **problem.shape}
    recipe = vars(problem.recipe(configuration))
    images = {"split": problem.split, "per_class": problem.per_class, "folds": problem.folds, "fold_seed": problem.seed}
    return own | {"configuration": configuration, "recipe": recipe, "seed": seed, "images": images}


def train(
    problem: TunedNetwork,
    configuration: Configuration,
    *,
    experiment_dir: str | Path,
    epochs: int,
    every: int = 5,
    seed: int = 0,
    id: str | None = None,
    from_epoch: int | str | None = None,
    validate_every: int = 1,
    tensorboard: bool = False,
    cfg: Mapping[str, Any] | None = None,
) -> Path:
    """Train to `epochs` with a snapshot after every `every` of them and the last, and return the training's folder.

    An id that has snapshots is continued, bit for bit on the same device, from `from_epoch` or its newest one. Of a
    problem with the split "validation" the held-out images are measured every `validate_every` epochs (0: never); with
    "test" all training images are used and nothing is measured along the way. `cfg` is kept beside them, as YAML.

    Raises:
        UserError: the id belongs to another training, a snapshot is missing or damaged, or a number makes no sense.
    """
    for name, value, least in (("num_epoch", epochs, 1), ("snapshot", every, 1), ("valid_interval", validate_every, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UserError(f"{name}: {value!r}; give a whole number of at least {least}")
    id = identity(configuration, seed) if id is None else id
    place = folder(experiment_dir, problem, configuration, id)
    wanted = made_of(problem, configuration, seed)
    if (place / "made_of.json").exists():
        _refuse_other(place, wanted)
    elif from_epoch is not None:
        raise UserError(_missing(place))
    with _tensorboard(place if tensorboard else None) as write:
        (images, labels), held_out = problem.images()
        training = problem.training(Job(configuration, (epochs,), seed), (images, labels))
        start = _newest(place, epochs) if from_epoch is None else _epoch(from_epoch)
        scalars: Scalars = []
        if start:
            training.restore(path(place, start))
            scalars = [row for row in read_scalars(place) if row["epoch"] <= start]
        place.mkdir(parents=True, exist_ok=True)
        _write(place / "made_of.json", wanted)
        if cfg is not None:
            paths.write(place / f"{id}_cfg.yml", yaml.safe_dump(dict(cfg)))

        def after(epoch: int, loss: float) -> None:
            row = {"epoch": epoch, "train/loss": loss}
            if held_out is not None and validate_every and epoch % validate_every == 0:
                row |= _measured(training, *held_out)
            write(row)
            scalars.append(row)
            if epoch % every == 0 or epoch == epochs:
                _write(place / "scalars.json", scalars)
                training.save(place / f"{epoch:03d}.pt")

        training.run(epochs, on_epoch=after)
    return place


def test(
    problem: TunedNetwork, *, experiment_dir: str | Path, configuration: Configuration, id: str, epoch: int | str
) -> dict[str, float]:
    """Metrics of a snapshot on the whole test split, whatever device it was made on.

    `configuration` says which network the snapshot should be of.

    Raises:
        UserError: no such id or epoch, a damaged file, or a snapshot of another network or number of classes.
    """
    place = folder(experiment_dir, problem, configuration, id)
    state = load(place, epoch, network=problem.network_of(configuration), **problem.shape)
    images, labels = problem.test_images
    training = problem.training(Job(configuration, (1,), 0), (images[:1], labels[:1]))
    try:
        training.model.load_state_dict(state["model"])
    except (RuntimeError, KeyError) as error:
        raise UserError(f"{path(place, epoch)} holds another network: give the id of a training of this one") from error
    return scores(training.predict(images).cpu(), labels, problem.classes)


def load(place: Path, epoch: int | str, **wanted: Any) -> dict[str, Any]:
    """The contents of a snapshot: tensors, numbers and text, loaded without running anything.

    Args:
        place: the training's folder.
        wanted: entries of `made_of` that must be these: network, channels, classes, size.

    Raises:
        UserError: no such id or epoch, a damaged file, or a snapshot of something else.
    """
    check(place, **wanted)
    return checkpoints.read(path(place, epoch))


def check(place: Path, **wanted: Any) -> None:
    """Raises `UserError` where there is no training at `place`, or one whose `made_of` has other entries than these."""
    if not (place / "made_of.json").exists():
        raise UserError(_missing(place))
    _refuse_other(place, wanted)


def path(place: Path, epoch: int | str) -> Path:
    """The file of one snapshot.

    Raises:
        UserError: not a whole number, or no snapshot of that epoch; says which there are.
    """
    file = place / f"{_epoch(epoch):03d}.pt"
    if not file.exists():
        there = ", ".join(map(str, epochs(place))) or "none"
        raise UserError(f"pre_trained_epoch: {place.name} has no snapshot after epoch {epoch}; there are: {there}")
    return file


def epochs(place: Path) -> list[int]:
    """The epochs after which there are snapshots, ascending."""
    return sorted(int(file.stem) for file in place.glob("*.pt") if file.stem.isdigit())


def read_scalars(place: Path) -> Scalars:
    """Losses and accuracies of every epoch, as far as they are written."""
    file = place / "scalars.json"
    return _read(file) if file.exists() else []


def _epoch(given: int | str) -> int:
    if isinstance(given, bool) or not re.fullmatch(r"\d+", str(given)) or int(given) < 1:
        raise UserError(f"pre_trained_epoch: {given!r} is no epoch; give a whole number of at least 1")
    return int(given)


def _newest(place: Path, most: int) -> int:
    return max((epoch for epoch in epochs(place) if epoch <= most), default=0)


def _missing(place: Path) -> str:
    """There may be a training of that id, but of another network or data set."""
    said = f"pre_trained_id: no training {place.name!r} in {place.parent.name}"
    for other in sorted(place.parent.parent.glob(f"snapshot_*/{place.name}/made_of.json")):
        found = _read(other)
        return f"{said}: it is one of {found['network']} on {found['data']}; choose that network and data set"
    there = ", ".join(sorted(p.name for p in place.parent.glob("*") if (p / "made_of.json").exists()))
    return f"{said}; there are: {there or 'none'}"


def _refuse_other(place: Path, wanted: dict[str, Any]) -> None:
    found, wanted = _read(place / "made_of.json"), json.loads(json.dumps(wanted))
    for key in wanted:
        if found.get(key) != wanted[key]:
            raise UserError(
                f"pre_trained_id: {place.name!r} is a training with {key} {found.get(key)!r}, not {wanted[key]!r}; "
                "give another id, or the settings it was made with"
            )


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is damaged: remove its folder and train again") from error


def _measured(training: Training, images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    logits = training.predict(images).cpu()
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    return {"valid/loss": F.cross_entropy(logits, labels).item(), "valid/label_accuracy": accuracy}


@contextmanager
def _tensorboard(place: Path | None):
    """Yields a function that takes one epoch's scalars; it does nothing without a place."""
    if place is None:
        yield lambda row: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError("tensorboard: the package is not installed; install tensorboard or leave it off") from error
    writer = SummaryWriter(str(place.parent.parent / place.parent.name.replace("snapshot_", "logger_", 1) / place.name))

    def write(row: dict[str, float]) -> None:
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(name, value, int(row["epoch"]))

    try:
        yield write
    finally:
        writer.close()


def _write(file: Path, content: Any) -> None:
    paths.write(file, json.dumps(content, indent=1, sort_keys=True) + "\n")
