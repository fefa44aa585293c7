"""Study 06's final training, with the searches before it or without: `python -m jahslib final --help`.

The commands `train` and `test` and their options are those of the original's scripts of these names. Beside the
snapshots of a training stands ID_cfg.yml, every option that it depends on, which `--cfg` takes.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jahslib.core.trials import Configuration
from jahslib.experiments import final_training
from jahslib.problems.tuned_network import DEFAULT, TunedNetwork
from jahslib.studies.ax_bo import Options, Search, best, experiment_dir, final_problem, pre_trained

# Where and by whom a training is run, which is nothing of the training itself.
_PLACES = {"profile", "note", "device", "workers", "scheduler", "fresh", "cfg", "set", "use_gpu", "gpu_id"}
_PLACES |= {"experiment_dir", "dataset_dir", "pre_trained_id", "pre_trained_epoch"}


@dataclass(frozen=True)
class FinalTraining:
    """A training with snapshots: its folder, what was trained, and the test metrics of its snapshots by epoch."""

    place: Path
    problem: TunedNetwork
    configuration: Configuration
    tested: dict[int, dict[str, float]]


def train(o: Options, found: Sequence[Search] = ()) -> FinalTraining:
    """Train once with snapshots on the first data set and test them all.

    The setting is `o.lr`, `o.momentum` and `o.weight_decay`, of which those not given are the original's defaults; with
    none given, Ax's best of the searches `found`. A training that exists is continued.

    Raises:
        UserError: `o.pre_trained_id` or its epoch is not there, or is of another training.
    """
    task = final_problem(o, o.data[0], split=o.final_split)
    if o.pre_trained_id is not None:
        _, configuration, seed = pre_trained(o)
    else:
        given = {name: getattr(o, name) for name in DEFAULT if getattr(o, name) is not None}
        start = DEFAULT if given or not found else best(found, o.data[0]).incumbent.configuration
        configuration, seed = {**start, **given}, o.seeds[0]
    id = o.pre_trained_id or final_training.identity(configuration, seed)
    if o.fresh and o.pre_trained_id is None:
        shutil.rmtree(final_training.folder(experiment_dir(o), task, configuration, id), ignore_errors=True)
    epochs = o.max_epochs if o.final_epochs is None else o.final_epochs
    place = final_training.train(
        task,
        configuration,
        experiment_dir=experiment_dir(o),
        epochs=epochs,
        every=o.snapshot_every if o.snapshot else epochs,
        seed=seed,
        id=id,
        from_epoch=o.pre_trained_epoch,
        validate_every=o.valid_interval,
        tensorboard=o.tensorboard,
        cfg=resolved(o, {**configuration, "data": o.data[:1], "seeds": (seed,)}),
    )
    return _tested(o, task, configuration, place, final_training.epochs(place))


def test(o: Options) -> FinalTraining:
    """Test a training that exists, `o.pre_trained_id`: its snapshot after `o.pre_trained_epoch`, or all without one.

    Raises:
        UserError: no such training or epoch, or one of another network or number of classes.
    """
    place, configuration, _ = pre_trained(o)
    task = final_problem(o, o.data[0], split=o.final_split)
    epochs = final_training.epochs(place) if o.pre_trained_epoch is None else [o.pre_trained_epoch]
    return _tested(o, task, configuration, place, epochs)


def _tested(
    o: Options, task: TunedNetwork, configuration: Configuration, place: Path, epochs: Sequence[int]
) -> FinalTraining:
    where = {"experiment_dir": experiment_dir(o), "configuration": configuration, "id": place.name}
    return FinalTraining(place, task, configuration, {e: final_training.test(task, epoch=e, **where) for e in epochs})


def resolved(o: Options, trained: Mapping[str, Any]) -> dict[str, Any]:
    """Every option as `cfg` takes it, those of `trained` as they are there; without those that say where it runs."""
    values = {f.name: getattr(o, f.name) for f in fields(o) if f.name not in _PLACES} | dict(trained)
    return {name: "none" if value is None else _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    """Tuples as lists, which YAML has."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
