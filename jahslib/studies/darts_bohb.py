"""Study 05: which searches are run, on what, and where their logs stand. Notebook 05_darts_bohb tells the story.

One pipeline of one seed: DARTS finds how probable each operation is at each node, cells are sampled from that, and BOHB
finds how to stack and train them in the time that is left; its incumbent is trained anew and tested once.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from torch import Tensor

from jahslib import cfg as cfg_layers
from jahslib import data, paths, spaces
from jahslib.darts import Settings
from jahslib.errors import UserError
from jahslib.models.stacking import most_probable_cell, sample_cells, to_text, uniform_probabilities
from jahslib.optimizers.random_search import Listed, RandomSearch
from jahslib.optimizers.smac_bohb import SmacBohb
from jahslib.problem import Configuration
from jahslib.problems.cell_search import CellSearch, epochs_until_stop, probabilities
from jahslib.problems.stacked_cells import MOST_CELLS, Levels, StackedCells
from jahslib.profiles import refuse_unknown, resolve
from jahslib.search import Budget, Optimizer
from jahslib.studies.runs import AnySearch, Run, run_all, run_trials, trainings
from jahslib.trials import History, Trial

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

# The class project's names in its YAML files -> the options here.
ORIGINAL_KEYS = {"datasetpath": "dataset_dir", "out_dir": "working_dir"}
SEARCH_KEYS = {"gamma": "focal_loss_gamma", "smoothing": "class_weight_smoothing"}
MODEL_KEYS = ("n_cells", "n_fc_layers", "dropout_rate", "fc_out_features", "cell_out_channels", "use_max_pooling")
DEAD_KEYS = ("use_BN",)  # it never reached the operations: batch normalisation is always on

log = logging.getLogger(__name__)

Search = AnySearch[StackedCells]


@dataclass(frozen=True)
class Options:
    """Every option of the study; the class project's names where it had one.

    `dataset`: "auto" is retinamnist where its file is at hand, else the stand-in retinadigits.
    `config_file`: a YAML file, or the name of one in notebooks/configs/05; it ranks above the profile and below the
    parameters given by name. `search` are options of `jahslib.darts.Settings`, `model` those of the supernet, each
    above the profile's and the file's own.
    `runtime`: seconds that DARTS and the search after it may take together. `total_budget`: epochs of a search after
    DARTS; SMAC's function makes of it the number of its trials.
    `surrogate`, `arch_images`: see `jahslib.problems.cell_search.CellSearch`. `candidates`: cells sampled a level.
    `widths` to `max_mflops`, `augment`: see `jahslib.problems.stacked_cells.StackedCells`. `max_cells`: levels.
    `resplit_final`: the final training of the method "resplit" has a split of its own, too.
    `probes`, `probe_epochs`, `probe`: trainings of each arm of the ablation, their epochs and configuration.
    `collapse`: the options of the collapse experiment: `dataset`, `per_class`, `model`, and Settings' own.
    `num_classes`, `num_img_channels`: refused where they are not the data set's.
    """

    profile: str
    note: str
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
    augment: bool = True
    final_seeds: int = 1
    probe: dict[str, Any] = field(default_factory=dict)
    checkpoint_freq: int = 1
    save_arch_weights: bool = True
    search_space: Literal["NASNetwork"] = "NASNetwork"
    optimizer: Literal["darts"] = "darts"
    num_classes: int | None = None
    num_img_channels: int | None = None
    config_file: str | None = None
    dataset_dir: str | None = None
    working_dir: str | None = None
    log_level: str = "INFO"
    device: str = "auto"
    workers: int = 1
    scheduler: str | None = None
    fresh: bool = False

    def __post_init__(self):
        refuse_unknown("methods", self.methods, METHODS)
        refuse_unknown("log_level", [self.log_level.upper()], ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
        if not self.seeds:
            raise UserError("seeds: none given; give at least one, such as [0]")
        if not self.methods:
            raise UserError("methods: none given; give at least one")
        if not 1 <= self.max_cells <= MOST_CELLS:
            raise UserError(f"max_cells: {self.max_cells}; give 1..{MOST_CELLS}")
        for name in ("candidates", "final_seeds", "probes", "probe_epochs"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: {getattr(self, name)}; give at least 1")
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

# The class project's f1_config.
SEARCH = asdict(Settings())

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
            "supernets of 4, 8 and 8 channels and stacks of 4 to 12, up to four cells and twenty million operations an "
            "image, instead of up to 256 channels and six cells; 2 to 8 epochs instead of 5 to 20, 68 epochs a search "
            "instead of 300, three seeds instead of five, no limit of time; the collapse on 400 images"
        ),
        "dataset": "auto",
        "seeds": (2, 3, 4),
        "search": {},
        "model": {"cell_out_channels": [4, 8, 8], "use_max_pooling": [True] * 3, "fc_out_features": [16]},
        "min_budget": 2,
        "max_budget": 8,
        "total_budget": 68,
        "max_cells": 4,
        "widths": (4, 12),
        "fc_widths": (8, 64),
        "max_mflops": 20.0,
        "probes": 2,
        "probe_epochs": 8,
        "collapse": {
            "dataset": "fashion_mnist",
            "per_class": 60,
            "epochs": 25,
            "learning_rate": 0.025,
            "arch_learning_rate": 0.03,
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
    file = _config_file(given.get("config_file"))
    merged = cfg_layers.merge(Options, given, cfg=file, aliases=ORIGINAL_KEYS)
    own = cfg_layers.merge(Options, {}, cfg=file, aliases=ORIGINAL_KEYS) if file else {}
    defaults = PROFILES.get(merged.get("profile", ""), {})
    for name in ("search", "model", "collapse"):
        merged[name] = {**defaults.get(name, {}), **own.get(name, {}), **(merged.get(name) or {})}
    o = resolve(Options, PROFILES, merged)
    if o.dataset_dir is not None:
        if not Path(o.dataset_dir).expanduser().is_dir():
            raise UserError(f"datasetpath: no folder {o.dataset_dir}; give the folder that holds the data sets")
        os.environ["JAHSLIB_DATA"] = str(Path(o.dataset_dir).expanduser().resolve())  # workers inherit it
    dataset = o.dataset
    if dataset == "auto":
        dataset = "retinamnist" if data.at_hand("retinamnist.npz") else "retinadigits"
    return replace(o, dataset=dataset, seeds=o.seeds if o.seed is None else (o.seed,))


def _config_file(given: str | None) -> str | None:
    """The path given, or else a file of that name among the study's own."""
    if given is None or Path(given).exists():
        return given
    own = CONFIGS / f"{given.removesuffix('.yaml')}.yaml"
    if own.exists():
        return str(own)
    names = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.yaml")))
    raise UserError(f"config_file: no file {given}; give the path of a YAML file or one of {names}")


def settings(o: Options, **changes: Any) -> Settings:
    """The DARTS phase's settings, under the class project's names as well.

    Raises:
        UserError: an unknown option, or a value out of its range.
    """
    given = {SEARCH_KEYS.get(k, k): v for k, v in o.search.items()}
    if not o.skip_prevention:
        given["surrogate_schedule"] = "none"
    return _settings("search", given | changes)


def _settings(place: str, given: Mapping[str, Any]) -> Settings:
    known = {f.name for f in fields(Settings)}
    for name in given:
        if name not in known:
            raise UserError(f"{place}: unknown option {name!r}; known: {', '.join(sorted(known | set(SEARCH_KEYS)))}")
    try:
        return Settings(**given)
    except TypeError as error:
        raise UserError(f"{place}: a value of the wrong type ({error})") from None


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


def check(o: Options) -> None:
    """See `jahslib.studies.check`."""
    loaded = data.load(o.dataset)
    data.load(o.dataset, "test")
    for name, found in (("num_classes", loaded.classes), ("num_img_channels", loaded.images.shape[1])):
        if getattr(o, name) not in (None, found):
            raise UserError(f"{name}: {getattr(o, name)}, but {o.dataset} has {found}; leave it out")
    runs = [*cell_searches(o).values(), *variant_searches(o).values(), *collapse_searches(o).values()]
    for run in runs:
        assert isinstance(run.problem, CellSearch)
        run.problem.check()
        run.check(fresh=o.fresh)
    problem(o, levels(uniform_probabilities(), 0, o)).space  # noqa: B018 (refuses impossible widths)
    _n_trials(o)


def folder(o: Options) -> Path:
    return Path(o.working_dir).absolute() if o.working_dir else paths.results(o.profile, NOTEBOOK)


# Cells --------------------------------------------------------------------------------------------------------------


def cell_search(o: Options, chosen: Settings) -> CellSearch:
    return CellSearch(
        data=o.dataset,
        settings=chosen,
        network=network(o.model),
        surrogate=o.surrogate,
        arch_images=o.arch_images,
        per_class=o.per_class,
        augment=o.augment,
        checkpoint_freq=o.checkpoint_freq,
        save_arch_weights=o.save_arch_weights,
        place=folder(o) / "darts",
        device=o.device,
    )


def _cell_run(o: Options, task: CellSearch, name: str, seed: int, seconds: float | None = None) -> Run:
    return Run(
        problem=task,
        optimizer=Listed(task, seed, [{}]),
        budget=Budget(trials=1, seconds=seconds),
        log=folder(o) / "logs" / f"{name}-seed{seed}.jsonl",
        seed=seed,
        method="darts",
        study=NOTEBOOK,
        profile=o.profile,
    )


def cell_searches(o: Options) -> dict[int, Run]:
    """The pipeline's first phase, by seed."""
    task = cell_search(o, settings(o))
    return {seed: _cell_run(o, task, f"darts-{o.dataset}", seed, o.runtime) for seed in o.seeds}


def variant_searches(o: Options) -> dict[tuple[str, int], Run]:
    """DARTS with and without skip prevention, never stopped early, by (variant, seed): the ablation's searches."""
    runs = {}
    for variant in VARIANTS:
        task = cell_search(o, _variant(settings(replace(o, skip_prevention=True)), variant))
        for seed in o.seeds:
            runs[variant, seed] = _cell_run(o, task, f"darts_{variant}-{o.dataset}", seed)
    return runs


def _variant(chosen: Settings, variant: str) -> Settings:
    chosen = replace(chosen, apply_early_stopping=False, stable_epochs=None)
    return replace(chosen, surrogate_schedule="none") if variant == "plain" else chosen


def collapse_searches(o: Options) -> dict[tuple[str, int], Run]:
    """DARTS with and without skip prevention on a data set of its own, by (variant, seed)."""
    c = dict(o.collapse)
    dataset, per_class = c.pop("dataset", o.dataset), c.pop("per_class", None)
    shape, augment = {**o.model, **c.pop("model", {})}, c.pop("augment", False)
    chosen = _settings("collapse", {SEARCH_KEYS.get(k, k): v for k, v in {**o.search, **c}.items()})
    runs = {}
    for variant in VARIANTS:
        task = replace(
            cell_search(o, _variant(chosen, variant)),
            data=dataset,
            per_class=per_class,
            network=network(shape),
            augment=augment,
        )
        for seed in o.seeds:
            runs[variant, seed] = _cell_run(o, task, f"collapse_{variant}-{dataset}", seed)
    return runs


AnyKey = TypeVar("AnyKey", int, tuple[str, int])


def run_cells(o: Options, runs: Mapping[AnyKey, Run]) -> dict[AnyKey, Trial]:
    """Run or resume DARTS searches; the trial of each, one cut off by `runtime` too.

    Raises:
        UserError: a search failed.
    """
    if o.fresh:
        for run in runs.values():
            for old in _left_behind(run):
                old.unlink(missing_ok=True)
    histories = run_all(runs.values(), workers=o.workers, scheduler=o.scheduler, fresh=o.fresh)
    found = {}
    for key, run in runs.items():
        (found[key],) = histories[run.log.stem]
        if found[key].status == "failed":
            raise UserError(f"{run.log.stem}: {found[key].reason}; change `search` (a smaller rate?) and start over")
    return found


def _left_behind(run: Run) -> list[Path]:
    """Checkpoint and table of an earlier search, which starting over must not continue."""
    assert isinstance(run.problem, CellSearch)
    seed = int(np.random.SeedSequence([run.seed, 0]).generate_state(1)[0])  # the search loop's, of its first trial
    path = run.problem.checkpoint(seed)
    return [] if path is None else [path, path.with_suffix(".csv")]


def levels(p: Tensor, seed: int, o: Options, *, how: str = "sampled") -> Levels:
    """Candidate cells of every level, from `6 x 5` probabilities.

    All sources of cells draw with the same random numbers, so that they differ where their probabilities do.
    """
    if how == "argmax":
        return ((to_text(most_probable_cell(p)),),) * o.max_cells
    sampled = sample_cells(p, np.random.default_rng([seed, 5]), levels=o.max_cells, candidates=o.candidates)
    return tuple(tuple(map(to_text, level)) for level in sampled)


# Stacks -------------------------------------------------------------------------------------------------------------


def problem(o: Options, cells: Levels, **changes: Any) -> StackedCells:
    base = StackedCells(
        data=o.dataset,
        cells=cells,
        performance_measure=o.performance_measure,
        min_epochs=max(1, int(o.min_budget)),
        max_epochs=int(o.max_budget),
        per_class=o.per_class,
        max_mflops=o.max_mflops,
        widths=o.widths,
        fc_widths=o.fc_widths,
        batch_sizes=o.batch_sizes,
        batch_size=settings(o).batch_size,
        augment=o.augment,
        device=o.device,
    )
    return replace(base, **changes)


def _n_trials(o: Options) -> int:
    """As SMAC counts the trials that Hyperband can pay with `total_budget` epochs."""
    from smac.intensifier.hyperband_utils import get_n_trials_for_hyperband_multifidelity as count

    if not 1 <= o.min_budget <= o.max_budget <= o.total_budget:
        raise UserError(
            f"budgets: min_budget {o.min_budget:g}, max_budget {o.max_budget:g}, total_budget {o.total_budget:g}; "
            "give 1 <= min_budget <= max_budget <= total_budget epochs"
        )
    return count(total_budget=o.total_budget, min_budget=o.min_budget, max_budget=o.max_budget, eta=o.eta)


def optimizer(o: Options, method: str, task: StackedCells, seed: int) -> Optimizer:
    if method == "rs":
        return RandomSearch(task, seed)
    return SmacBohb(
        task,
        seed,
        eta=o.eta,
        n_init=o.n_init,
        retrain_after=o.retrain_after,
        min_trials=o.min_trials,
        use_default_config=True,
    )


def searches(o: Options, cells: Mapping[int, Trial]) -> Iterator[Run]:
    """Every method with every seed after DARTS, under one number of epochs, in what DARTS left of `runtime`.

    Raises:
        UserError: DARTS left no time.
    """
    for seed in o.seeds:
        spent = cells[seed].outputs["seconds"]
        if o.runtime is not None and spent >= o.runtime:
            raise UserError(f"runtime: DARTS took all of its {o.runtime:g} s; give more, or fewer epochs in `search`")
        for method in o.methods:
            p = uniform_probabilities() if method == "uniform" else probabilities(cells[seed].outputs)
            how = "argmax" if method == "argmax" else "sampled"
            task = problem(o, levels(p, seed, o, how=how), resplit=method == "resplit")
            before = 0.0 if method == "uniform" else spent
            seconds = None if o.runtime is None else o.runtime - before
            trials = None if method == "rs" else _n_trials(o)
            yield Run(
                problem=task,
                optimizer=optimizer(o, method, task, seed),
                budget=Budget(trials=trials, epochs=o.total_budget, seconds=seconds),
                log=folder(o) / "logs" / f"{method}-{o.dataset}-seed{seed}.jsonl",
                seed=seed,
                method=method,
                study=NOTEBOOK,
                profile=o.profile,
            )


def finished(o: Options, cells: Mapping[int, Trial], histories: Mapping[str, History]) -> list[Search]:
    """Raises `UserError` for a search in which no trial reached the highest budget."""
    runs = {run.log.stem: run for run in searches(o, cells)}
    found = [Search(runs[name].method, runs[name].seed, h, runs[name].problem) for name, h in histories.items()]
    for s in found:
        if not s.full:
            raise UserError(f"{s.method}, seed {s.seed}: no trial reached {o.max_budget:g} epochs; give more runtime")
    return found


def run_finals(o: Options, found: Sequence[Search]) -> dict[tuple[str, int], list[Trial]]:
    """Train each incumbent anew on the training images and measure it on the test split, by (method, seed)."""
    runs = {}
    for s in found:
        c = s.incumbent.configuration
        runs[s.method, s.seed] = trainings(
            replace(s.problem, split="test"),
            [c] * o.final_seeds,
            folder(o) / "logs" / f"test-{s.method}-{o.dataset}-seed{s.seed}-{spaces.digest(c)}.jsonl",
            seed=s.seed,
            method=s.method,
            study=NOTEBOOK,
            profile=o.profile,
        )
    return run_trials(runs, workers=o.workers, scheduler=o.scheduler, fresh=o.fresh)


# Ablation -----------------------------------------------------------------------------------------------------------

Arm = tuple[str, bool, str]  # variant of DARTS, whether it stopped early, source of the cells


def arms() -> list[Arm]:
    """Skip prevention on and off, early stopping on and off, cells sampled and the most probable; and no search."""
    searched = [(v, stop, source) for v in VARIANTS for stop in (True, False) for source in ("sampled", "argmax")]
    return [*searched, ("none", False, "uniform")]


def stopped_at(o: Options, trial: Trial, stop: bool) -> int:
    """The epoch whose architecture weights an arm uses."""
    return epochs_until_stop(trial, settings(o)) if stop else len(trial.outputs["alphas"])


def probe_configurations(o: Options, candidates: Levels) -> list[Configuration]:
    """Networks of the supernet's shape, the i-th with the i-th candidate at each level; trained all in one way."""
    shape = network(o.model)
    fixed: Configuration = {**PROBE, **o.probe, "dropout": shape["dropout"], "n_fc_layers": len(shape["fc"])}
    fixed |= {f"n_out_features_fc_{i}": width for i, width in enumerate(shape["fc"], start=1)}
    fixed["n_cells"] = len(shape["out_channels"])
    found = []
    for i in range(o.probes):
        own = dict(fixed)
        layers = zip(shape["out_channels"], shape["pooling"], candidates, strict=False)
        for level, (width, pool, choices) in enumerate(layers, start=1):
            own[f"cell_{level}"] = choices[i % len(choices)]
            own |= {f"out_channels_{level}": width, f"use_max_pooling_{level}": pool}
        found.append(own)
    return found


def run_probes(o: Options, variants: Mapping[tuple[str, int], Trial]) -> dict[tuple[Arm, int], list[Trial]]:
    """Train and test the ablation's networks, by (arm, seed). Arms whose cells agree share their trainings."""
    runs: dict[tuple[Arm, int], Run] = {}
    known: dict[Path, Run] = {}
    wide = replace(o, max_cells=len(network(o.model)["out_channels"]), candidates=o.probes)
    for seed in o.seeds:
        for arm in arms():
            variant, stop, source = arm
            p = uniform_probabilities()
            if source != "uniform":
                trial = variants[variant, seed]
                p = probabilities(trial.outputs, stopped_at(o, trial, stop))
            cells = levels(p, seed, wide, how=source)
            task = problem(
                o, cells, split="test", max_mflops=None, min_epochs=o.probe_epochs, max_epochs=o.probe_epochs
            )
            configurations = probe_configurations(o, cells)
            name = f"probe-{o.dataset}-seed{seed}-{spaces.digest({'all': configurations})}"
            run = trainings(
                task,
                configurations,
                folder(o) / "logs" / f"{name}.jsonl",
                seed=seed,
                method="probe",
                study=NOTEBOOK,
                profile=o.profile,
            )
            runs[arm, seed] = known.setdefault(run.log, run)
    trials = run_trials(
        {path: run for path, run in known.items()}, workers=o.workers, scheduler=o.scheduler, fresh=o.fresh
    )
    return {key: trials[run.log] for key, run in runs.items()}


def log_files(o: Options) -> list[Path]:
    return sorted((folder(o) / "logs").glob("*.jsonl"))
