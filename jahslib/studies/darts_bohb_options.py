"""Study 05's options: those of the class project's command line and YAML files, and the profiles."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

from jahslib import paths
from jahslib.core.optimizer import checked_seed
from jahslib.data import places
from jahslib.errors import UserError
from jahslib.experiments import cfg as cfg_layers
from jahslib.experiments.profiles import RunOptions, refuse_empty, refuse_less, refuse_unknown, resolve
from jahslib.problems.darts.search import Settings
from jahslib.problems.darts.stacked_cells import MOST_CELLS

NOTEBOOK = "05_darts_bohb"
CONFIGS = paths.ROOT / "notebooks" / "configs" / "05"

# Method -> its name in figures and tables.
METHODS = {
    "bohb": "DARTS, BOHB",
    "rs": "DARTS, random",
    "argmax": "argmax cell",
    "uniform": "uniform cells",
    "resplit": "re-split",
}

# The skip prevention of a DARTS search -> its name.
VARIANTS = {"prevented": "with skip prevention", "plain": "without"}

# Where the candidate cells of the ablation come from -> its name.
SOURCES = {"sampled": "sampled", "argmax": "argmax", "uniform": "uniform, no search"}

# The class project's keys in its YAML files -> the options here; None: taken and without effect.
ORIGINAL_KEYS: dict[str, str | None] = {
    "data": "datasetpath",
    "out_dir": "working_dir",
    "save": None,  # its script put it together from the rest
    "dataset_meta.num_classes": "num_classes",
    "dataset_meta.num_img_channels": "num_img_channels",
    "arch_search": "search",
    "arch_search.checkpoint_freq": "checkpoint_freq",
    "arch_search.seed": "seed",
}
FIXED = {"op_optimizer": "SGD", "arch_optimizer": "Adam"}  # keys of `search` with the one value that there is
SEARCH_KEYS = {"gamma": "focal_loss_gamma", "smoothing": "class_weight_smoothing"}
MODEL_KEYS = ("n_cells", "n_fc_layers", "dropout_rate", "fc_out_features", "cell_out_channels", "use_max_pooling")
DEAD_KEYS = ("use_BN",)  # it never reached the operations: batch normalisation is always on

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Every option of the study; the class project's names where it had one.

    `dataset`: "auto" is retinamnist where its file is at hand, else the stand-in retinadigits.
    `config_file`: a YAML file, or the name of one in notebooks/configs/05; it ranks above the profile and below the
    parameters given by name, and may nest its keys as the class project's files do. `search` are options of
    `jahslib.problems.darts.search.Settings`, `model` those of the supernet, each above the profile's and the file's
    own.
    `runtime`: seconds that DARTS and the search after it may take together. `total_budget`: epochs of a search after
    DARTS; SMAC's function makes of it the number of its trials.
    `surrogate`, `arch_images`: see `jahslib.problems.darts.cell_search.CellSearch`. `candidates`: cells sampled a
    level. `widths` to `max_mflops`: see `jahslib.problems.darts.stacked_cells.StackedCells`. `max_cells`: levels.
    `augment`: flip and turn the training images; None does so unless they are the stand-in's digits, one of which may
    become another.
    `probes`, `probe_epochs`, `probe`: trainings of each arm of the ablation, their epochs and configuration.
    `collapse`: the options of the collapse experiment: `dataset`, `per_class`, `model`, `augment`, and Settings' own.
    `num_classes`, `num_img_channels`: refused where they are not the data set's.
    `working_dir`, `name`: logs, checkpoints and final networks stand in this folder (None: the profile's results),
    below a folder of that name.
    """

    dataset: str
    seeds: tuple[int, ...]
    search: dict[str, Any]
    model: dict[str, Any]
    min_budget: float
    max_budget: float
    total_budget: float
    probes: int
    probe_epochs: int
    collapse: dict[str, Any]
    seed: int | None = None
    methods: tuple[str, ...] = tuple(METHODS)
    performance_measure: Literal["acc", "f1"] = "acc"
    runtime: float | None = None
    eta: int = 2
    n_init: int = 5
    min_trials: int = 4
    retrain_after: int = 8
    skip_prevention: bool = True
    surrogate: Literal["convex", "additive"] = "convex"
    arch_images: Literal["val", "half"] = "val"
    candidates: int = 5
    max_cells: int = MOST_CELLS
    widths: tuple[int, int] = (8, 256)
    fc_widths: tuple[int, int] = (8, 256)
    batch_sizes: tuple[int, int] = (16, 256)
    max_mflops: float | None = None
    per_class: int | None = None
    augment: bool | None = None
    final_seeds: int = 1
    probe: dict[str, Any] = field(default_factory=dict)
    checkpoint_freq: int = 1
    save_arch_weights: bool = True
    search_space: Literal["NASNetwork"] = "NASNetwork"
    optimizer: Literal["darts"] = "darts"
    num_classes: int | None = None
    num_img_channels: int | None = None
    config_file: str | None = None
    datasetpath: str | None = None
    working_dir: str | None = None
    name: str | None = None
    log_level: str = "INFO"

    def __post_init__(self):
        refuse_unknown("methods", self.methods, METHODS)
        refuse_unknown("log_level", [self.log_level.upper()], ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
        refuse_empty(self, "seeds", "methods")
        if not 1 <= self.max_cells <= MOST_CELLS:
            raise UserError(f"max_cells: {self.max_cells}; give 1..{MOST_CELLS}")
        refuse_less(self, 1, "candidates", "final_seeds", "probes", "probe_epochs")
        if self.seed is not None:
            checked_seed(self.seed, "seed")
        if self.name is not None and not re.fullmatch(r"\w[\w.-]*", self.name):
            raise UserError(f"name: {self.name!r} is no name of a folder; give letters, digits, '-', '_' and '.' only")
        if self.runtime is not None and not self.runtime > 0:
            raise UserError(f"runtime: {self.runtime} seconds must be positive")


# Configuration of every network of the ablation: three cells of the supernet's shape, trained as most trials are.
PROBE = {
    "batch_size": 32,
    "optimizer": "adamw",
    "beta1": 0.9,
    "beta2": 0.999,
    "amsgrad": False,
    "lr_scheduler": "OneCycleLR",
    "lr_w_schedule": 3e-3,
    "use_weight_decay": False,
    "use_surrogate": False,
    "loss_class_weight_smoothing": 0.8,
    "focal_loss_gamma": 3.0,
}

PROFILES: dict[str, dict[str, Any]] = {
    "smoke": {
        "note": (
            "10 images a class of the stand-in, two epochs of DARTS: shows that the code runs, not how methods compare"
        ),
        "dataset": "retinadigits",
        "seeds": (2,),
        "search": {"epochs": 2, "batch_size": 16, "stopping_after_n_skips": 4},
        "model": {"n_cells": 2, "cell_out_channels": [4, 8], "use_max_pooling": [True] * 2, "fc_out_features": [8]},
        "min_budget": 1,
        "max_budget": 2,
        "total_budget": 8,
        "n_init": 2,
        "min_trials": 2,
        "candidates": 3,
        "max_cells": 3,
        "widths": (4, 8),
        "fc_widths": (4, 16),
        "max_mflops": 25.0,
        "per_class": 10,
        "probes": 1,
        "probe_epochs": 1,
        "collapse": {"dataset": "mnist5k", "per_class": 6, "epochs": 2, "batch_size": 20},
    },
    "cpu": {
        "note": (
            "supernets of 4, 8 and 8 channels and stacks of 4 to 8, up to four cells and twelve million operations an "
            "image, instead of up to 256 channels and six cells; batches of at least 32 instead of 16; 4 to 16 epochs "
            "instead of 5 to 20, 204 epochs a search instead of 300, begun with three random configurations instead of "
            "five; digits are not flipped or turned; "
            "two networks of 6 epochs an arm of the ablation; three seeds instead of five, no limit of time; the "
            "collapse on 120 training and 60 validation images in batches of 16, not augmented, with three times the "
            "original's rate for weights and six times its rate for architecture weights"
        ),
        "dataset": "auto",
        "seeds": (2, 3, 4),
        "search": {},
        "model": {"cell_out_channels": [4, 8, 8], "use_max_pooling": [True] * 3, "fc_out_features": [16]},
        "min_budget": 4,
        "max_budget": 16,
        "total_budget": 204,
        "n_init": 3,
        "max_cells": 4,
        "widths": (4, 8),
        "fc_widths": (8, 64),
        "batch_sizes": (32, 256),
        "max_mflops": 12.0,
        "probes": 2,
        "probe_epochs": 6,
        # Few images and large steps, so that cheap networks learn and the architecture weights move within minutes;
        # as many channels throughout, so that identity has no parameters except on the input.
        "collapse": {
            "dataset": "fashion_mnist",
            "per_class": 18,
            "epochs": 40,
            "batch_size": 16,
            "learning_rate": 0.015,
            "arch_learning_rate": 0.03,
            "model": {"cell_out_channels": [8, 8, 8], "fc_out_features": [32]},
        },
    },
    "paper": {
        "note": (
            "the class project's space, budgets and seeds, on the official splits; the networks of its YAML files are "
            "not public and chosen here; without its two hours, so that machines do not decide the result"
        ),
        "dataset": "retinamnist",
        "seeds": (2, 3, 4, 5, 6),
        "search": {},
        "model": {"cell_out_channels": [16, 32, 64], "use_max_pooling": [True] * 3, "fc_out_features": [64]},
        "min_budget": 5,
        "max_budget": 20,
        "total_budget": 300,
        "probes": 5,
        "probe_epochs": 20,
        "collapse": {
            "dataset": "fashion_mnist",
            "per_class": 1500,
            "epochs": 50,
            "learning_rate": 0.025,
            "arch_learning_rate": 0.03,
        },
    },
}


def options(**given: Any) -> Options:
    """Resolve notebook parameters: profile < `config_file` < those given by name; then the device and the data set.

    Raises:
        UserError: an unknown key or a value of the wrong type (says which), a folder or file that is not there.
    """
    file = _config_file(cfg_layers.file(given.get("config_file")))
    merged = cfg_layers.merge(Options, given, cfg=file, aliases=ORIGINAL_KEYS)
    own = cfg_layers.merge(Options, {}, cfg=file, aliases=ORIGINAL_KEYS) if file else {}
    defaults = PROFILES.get(merged.get("profile", ""), {})
    for name in ("search", "model", "collapse"):
        merged[name] = {**defaults.get(name, {}), **own.get(name, {}), **(merged.get(name) or {})}
    o = resolve(Options, PROFILES, merged)
    places.look_in(o.datasetpath, "datasetpath")
    dataset = o.dataset
    if dataset == "auto":
        dataset = "retinamnist" if places.at_hand("retinamnist.npz") else "retinadigits"
    augment = dataset != "retinadigits" if o.augment is None else o.augment
    return replace(o, dataset=dataset, augment=augment, seeds=o.seeds if o.seed is None else (o.seed,))


def _config_file(given: str | None) -> str | None:
    """The path given, or else a file of that name among the study's own."""
    if given is None or Path(given).exists():
        return given
    own = CONFIGS / f"{given.removesuffix('.yaml')}.yaml"
    if own.exists():
        return str(own)
    names = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.yaml")))
    raise UserError(f"config_file: no file {given}; give the path of a YAML file or one of {names}")


def settings(o: Options) -> Settings:
    """The DARTS phase's settings, under the class project's names as well.

    Raises:
        UserError: an unknown option, or a value out of its range.
    """
    prevention = {} if o.skip_prevention else {"surrogate_schedule": "none"}
    return read_settings("search", {**o.search, **prevention})


def read_settings(place: str, given: Mapping[str, Any]) -> Settings:
    """As `settings`, from the options that stand at `place`."""
    hints = get_type_hints(Settings)
    chosen = {}
    for key, value in given.items():
        if key in FIXED:
            if value != FIXED[key]:
                raise UserError(f"{place}: {key} is {value!r}; there is {FIXED[key]} alone, leave it out")
            continue
        name = SEARCH_KEYS.get(key, key)
        if name not in hints:
            raise UserError(f"{place}: unknown option {name!r}; known: {', '.join(sorted({*hints, *SEARCH_KEYS}))}")
        typed = (
            None
            if cfg_layers.says_none(value, hints[name])
            else cfg_layers.checked(value, hints[name], f"{place}: {key}")
        )
        chosen[name] = typed if isinstance(value, str) else value  # 5 stays 5, not 5.0: checkpoints are named by it
    return Settings(**chosen)


def network(model: Mapping[str, Any]) -> dict[str, Any]:
    """The supernet's options from the YAML files' section `model`, whose lists may be longer than the network.

    Raises:
        UserError: an unknown key, or a list that is too short.
    """
    for name in model:
        if name not in (*MODEL_KEYS, *DEAD_KEYS):
            raise UserError(f"model: unknown option {name!r}; known: {', '.join(MODEL_KEYS)}")
    if dead := [name for name in DEAD_KEYS if name in model]:
        log.warning("model: %s changes nothing, here as in the original: batch normalisation is always on", dead[0])
    channels, pooling, fc = (list(model[name]) for name in ("cell_out_channels", "use_max_pooling", "fc_out_features"))
    n_cells, n_fc = model.get("n_cells", 3), model.get("n_fc_layers", 1)
    for name, values, n in (
        ("cell_out_channels", channels, n_cells),
        ("use_max_pooling", pooling, n_cells),
        ("fc_out_features", fc, n_fc),
    ):
        if len(values) < n or n < 1:
            raise UserError(f"model: {name} has {len(values)} values for {n} layers; give one a layer")
    return {
        "out_channels": tuple(channels[:n_cells]),
        "pooling": tuple(pooling[:n_cells]),
        "fc": tuple(fc[:n_fc]),
        "dropout": model.get("dropout_rate", 0.0),
    }
