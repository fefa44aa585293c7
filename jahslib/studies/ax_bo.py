"""Study 06: which searches are run, on what, and where their logs stand. Notebook 06_ax_bo tells the story."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jahslib import paths
from jahslib.core.optimizer import Listed, Optimizer
from jahslib.core.trials import Configuration, History, Trial
from jahslib.data import places
from jahslib.errors import UserError
from jahslib.experiments import cfg as cfg_layers
from jahslib.experiments import final_training
from jahslib.experiments.profiles import RunOptions, refuse_empty, refuse_less, refuse_unknown, resolve
from jahslib.optimizers.ax.optimizer import FAST, AxBO
from jahslib.optimizers.grid import even_counts, grid
from jahslib.optimizers.random_search import RandomSearch
from jahslib.optimizers.smac_bohb import SmacBohb
from jahslib.optimizers.sobol import Sobol
from jahslib.problems.tuned_network import DEFAULT, TunedNetwork, check_setting
from jahslib.search import Budget
from jahslib.search.runs import AnySearch, Run, retraining, run_trials

NOTEBOOK = "06_ax_bo"

# Method -> its name in figures and tables. The first five are compared under one number of trials; the last two, on
# fewer seeds, are Ax with early stopping (under the same number of epochs) and Ax over network and training together.
METHODS = {
    "ax": "Ax",
    "rs": "random",
    "sobol": "Sobol",
    "grid": "grid",
    "smac": "SMAC",
    "ax_stop": "Ax, early stopping",
    "joint": "Ax, joint",
}
EXTRAS = ("ax_stop", "joint")

# The original's cfg keys -> the options here; None: taken and without effect, as what is measured and shown is fixed.
_TRAIN = {
    "lr": "lr",
    "wd": "weight_decay",
    "weight_decay": "weight_decay",
    "momentum": "momentum",
    "nesterov": "nesterov",
    "num_epoch": "max_epochs",
    "batch_size": "batch_size",
    "scheduler_type": "schedule",
}
ORIGINAL_KEYS: dict[str, str | None] = {
    "dataset_name": "data",
    "net_arch": "network",
    "snapshot_interval": "snapshot_every",
    "verbose_interval": None,
    "meters": None,
    "valid.batch_size": None,
    "valid.interval": "valid_interval",
    "valid.valid_interval": "valid_interval",
    **{name: option for name, option in _TRAIN.items() if name != option},
    **{f"train.{name}": option for name, option in _TRAIN.items()},
}

Search = AnySearch[TunedNetwork]


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Every option of the study; the original's names where it had one.

    `trials`: of each search (Ax's total_trials). `extra_seeds`: how many of the seeds the two extra methods run with.
    `n_init`: Ax's trials before its model (the centre, then Sobol) and SMAC's. `early_stopping`, `initialisation`,
    `acquisition`: see `jahslib.optimizers.ax.optimizer.AxBO`. `ranges`, `bounds`, `joint`, `networks`: see
    `TunedNetwork`.
    `lr`, `momentum`, `weight_decay`: of the final training with snapshots; where none is given, as Ax found them.
    `final_split`: "test" trains on all training images; "validation" holds a part back and measures it every
    `valid_interval` epochs.
    `snapshot`: False keeps the last epoch's alone; a number is another way to give `snapshot_every`.
    `pre_trained_id`, `pre_trained_epoch`: continue that training, from that epoch; without an epoch from its newest.
    `use_gpu`, `gpu_id`: where given, they decide the device. `cfg`: a YAML file, `set`: keys and values; they rank
    above the profile and below the parameters given by name.
    """

    data: tuple[str, ...] | str
    network: str
    seeds: tuple[int, ...]
    trials: int
    max_epochs: int
    extra_seeds: int
    final_seeds: int
    per_class: int | None = None
    methods: tuple[str, ...] = tuple(METHODS)
    folds: int = 5
    n_init: int = 5
    ranges: str = "reported"
    bounds: dict[str, Any] = field(default_factory=dict)
    joint: tuple[str, ...] = ("batch_size", "schedule", "network")
    networks: tuple[str, ...] = ("lenet", "lenet300")
    batch_size: int = 128
    schedule: str = "constant"
    nesterov: bool = False
    runtime: float | None = None
    early_stopping: dict[str, Any] = field(default_factory=lambda: {"every": 1})
    initialisation: dict[str, Any] = field(default_factory=dict)
    acquisition: dict[str, Any] = field(default_factory=lambda: dict(FAST))
    smac_retrain_after: int = 1
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    final_epochs: int | None = None
    snapshot_every: int = 5
    snapshot: int | bool = True
    final_split: str = "test"
    valid_interval: int = 1
    pre_trained_id: str | None = None
    pre_trained_epoch: int | None = None
    experiment_dir: str | None = None
    dataset_dir: str | None = None
    tensorboard: bool = False
    ax_database: bool = False
    use_gpu: bool | None = None
    gpu_id: int = 0
    cfg: str | None = None
    set: dict[str, Any] | tuple[Any, ...] | str | None = None

    def __post_init__(self):
        refuse_unknown("methods", self.methods, METHODS)
        refuse_empty(self, "seeds", "methods", "data")
        refuse_less(self, 1, "final_seeds", "final_epochs", "snapshot_every")
        refuse_less(self, 0, "valid_interval", "extra_seeds", "pre_trained_epoch", "gpu_id")
        for name in DEFAULT:
            if getattr(self, name) is not None:
                check_setting(name, getattr(self, name))


PROFILES: dict[str, dict[str, Any]] = {
    "smoke": {
        "note": "200 of mnist5k's digits and ten steps a trial: shows that the code runs, not how methods compare",
        "data": ("mnist5k",),
        "network": "lenet300",
        "seeds": (0,),
        "trials": 5,
        "max_epochs": 2,
        "extra_seeds": 1,
        "final_seeds": 1,
        "per_class": 20,
        "n_init": 3,
        "batch_size": 32,
        "bounds": {"lr": (1e-3, 0.5)},
        "early_stopping": {"every": 1, "min_curves": 2},
        "snapshot_every": 1,
    },
    "cpu": {
        "note": (
            "LeNet-5 on the first 300 training images of each class of Fashion-MNIST (3,000 of 60,000) instead of "
            "AlexNet on CIFAR-100, five epochs instead of 20, in batches of 32 instead of 128 (of those there would be "
            "so few that the same setting reaches 10 or 70 % by chance), 25 trials instead of 20, ten seeds instead of "
            "none"
        ),
        "data": ("fashion_mnist",),
        "network": "lenet",
        "seeds": tuple(range(10)),
        "trials": 25,
        "max_epochs": 5,
        "extra_seeds": 3,
        "final_seeds": 3,
        "per_class": 300,
        "batch_size": 32,
        "folds": 3,
        "snapshot_every": 1,
    },
    "paper": {
        "note": (
            "the original's network, data sets, batches, epochs and number of trials, with validation images held back "
            "from the training split, and three seeds instead of none"
        ),
        "data": ("mnist", "cifar10", "cifar100"),
        "network": "alexnet",
        "seeds": (0, 1, 2),
        "trials": 20,
        "max_epochs": 20,
        "extra_seeds": 1,
        "final_seeds": 3,
        "networks": ("alexnet", "resnet18"),
        "early_stopping": {"every": 5},
    },
}


def options(**given: Any) -> Options:
    """Resolve notebook parameters: profile < `cfg` < `set` < those given by name; then the device.

    Raises:
        UserError: an unknown key or a value of the wrong type (says which), a device that is not there.
    """
    layers = {name: cfg_layers.file(given.get(name)) for name in ("cfg", "set")}
    merged = cfg_layers.merge(Options, given, **layers, aliases=ORIGINAL_KEYS)
    o = resolve(Options, PROFILES, merged)
    data = (o.data,) if isinstance(o.data, str) else o.data
    places.look_in(o.dataset_dir, "dataset_dir")
    if not isinstance(o.snapshot, bool):
        o = replace(o, snapshot=True, snapshot_every=o.snapshot)
    return replace(o, data=data, device=_device(o))


def _device(o: Options) -> str:
    if not o.use_gpu:
        return o.device if o.use_gpu is None else "cpu"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not 0 <= o.gpu_id < count:
        raise UserError(f"use_gpu: no CUDA device {o.gpu_id} here (there are {count}); set use_gpu to False")
    return f"cuda:{o.gpu_id}"


def check(o: Options) -> None:
    """See `jahslib.studies.check`."""
    for data in o.data:
        for method in o.methods:
            problem(o, data, 0, method).check()
        final_problem(o, data, split=o.final_split).test_images  # noqa: B018 (loads the test split)
    for run in searches(o):
        run.check(fresh=o.fresh)
    if o.pre_trained_id is not None:
        pre_trained(o)


def problem(o: Options, data: str, seed: int, method: str = "ax", **changes: Any) -> TunedNetwork:
    """What a method searches: the methods of one seed share the images held back."""
    base = TunedNetwork(
        data=data,
        seed=seed,
        min_epochs=1 if method == "ax_stop" else o.max_epochs,
        max_epochs=o.max_epochs,
        folds=o.folds,
        per_class=o.per_class,
        network=o.network,
        batch_size=o.batch_size,
        schedule=o.schedule,
        nesterov=o.nesterov,
        ranges=o.ranges,  # type: ignore[arg-type]
        bounds=dict(o.bounds),
        joint=o.joint if method == "joint" else (),
        networks=o.networks,
        device=o.device,
    )
    return replace(base, **changes)


def final_problem(o: Options, data: str, method: str = "ax", split: str = "test") -> TunedNetwork:
    """Train on the whole training split, measure on the test split; no search sees it."""
    return problem(o, data, 0, method, split=split)


def folder(o: Options) -> Path:
    """Where the study's results stand."""
    return paths.results(o.profile, NOTEBOOK)


def optimizer(o: Options, method: str, task: TunedNetwork, seed: int) -> Optimizer:
    """The optimizer of one search; `method` is one of `METHODS`."""
    match method:
        case "rs":
            return RandomSearch(task, seed)
        case "sobol":
            return Sobol(task, seed)
        case "grid":
            points = grid(task.space, even_counts(task.space, o.trials), np.random.default_rng(seed))
            return Listed(task, seed, points)
        case "smac":  # with one rung, SMAC's multi-fidelity facade is its plain Bayesian optimisation
            return SmacBohb(task, seed, n_init=o.n_init, retrain_after=o.smac_retrain_after)
        case _:
            stopping = o.early_stopping if method == "ax_stop" else {}
            return AxBO(
                task,
                seed,
                n_init=o.n_init,
                initialisation=o.initialisation,
                acquisition=o.acquisition,
                early_stopping=stopping,
            )


def searches(o: Options) -> Iterator[Run]:
    """Every method on every data set with every seed, the extra methods with fewer."""
    for data in o.data:
        for i, seed in enumerate(o.seeds):
            for method in o.methods:
                if method in EXTRAS and i >= o.extra_seeds:
                    continue
                task = problem(o, data, seed, method)
                chosen = optimizer(o, method, task, seed)
                # A grid for more trials is another grid, and so another search.
                points = f"-{len(chosen.configurations)}points" if isinstance(chosen, Listed) else ""
                size = {"epochs": o.trials * o.max_epochs} if method == "ax_stop" else {"trials": o.trials}
                yield Run(
                    problem=task,
                    optimizer=chosen,
                    budget=Budget(**size, seconds=o.runtime),
                    log=folder(o) / "logs" / f"{method}-{data}-seed{seed}{points}.jsonl",
                    seed=seed,
                    method=method,
                    study=NOTEBOOK,
                    profile=o.profile,
                )


def finished(o: Options, histories: dict[str, History]) -> list[Search]:
    """The searches that have a history, by log name."""
    runs = {run.log.stem: run for run in searches(o)}
    return [Search(runs[log].method, runs[log].seed, h, runs[log].problem) for log, h in histories.items()]


Key = tuple[str, str, int]  # method, data set, seed


def key(s: Search) -> Key:
    """Of a search among the final trainings."""
    return s.method, s.problem.data, s.seed


def run_finals(o: Options, found: Sequence[Search]) -> dict[Key, list[Trial]]:
    """Train each incumbent on the whole training split and measure it on the test split."""
    runs = {}
    for s in found:
        task, name = final_problem(o, s.problem.data, s.method), f"{s.method}-{s.problem.data}-seed{s.seed}"
        runs[key(s)] = retraining(
            s, task, o.final_seeds, folder(o) / "logs", name=name, study=NOTEBOOK, profile=o.profile
        )
    return run_trials(runs, workers=o.workers, scheduler=o.scheduler, fresh=o.fresh)


def best(found: Sequence[Search], data: str) -> Search:
    """Ax's search with the best incumbent on a data set, or any method's where Ax was not run."""
    own = [s for s in found if s.problem.data == data and s.method not in EXTRAS] or list(found)
    own = [s for s in own if s.method == "ax"] or own
    return min(own, key=lambda s: s.problem.rank(s.incumbent))


def experiment_dir(o: Options) -> Path:
    """Where the snapshots of final trainings stand."""
    return Path(o.experiment_dir).absolute() if o.experiment_dir else folder(o) / "experiment"


def pre_trained(o: Options) -> tuple[Path, Configuration, int]:
    """Folder, configuration and seed of the training `o.pre_trained_id` on the first data set.

    Raises:
        UserError: no such training or epoch, or one of another network or number of classes.
    """
    task = final_problem(o, o.data[0])
    place = final_training.folder(experiment_dir(o), task, {}, o.pre_trained_id or "")
    final_training.check(place, network=o.network, **task.shape)
    if o.pre_trained_epoch is not None:
        final_training.path(place, o.pre_trained_epoch)
    made = json.loads((place / "made_of.json").read_text())
    return place, made["configuration"], made["seed"]


def log_files(o: Options) -> list[Path]:
    """The trial logs that the study's records rest on."""
    return sorted((folder(o) / "logs").glob("*.jsonl"))
