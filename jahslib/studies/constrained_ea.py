"""Study 07: which searches are run, on what, and where their logs stand. Notebook 07_constrained_EA tells the story."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from jahslib import paths
from jahslib.analysis import reported
from jahslib.core.optimizer import Optimizer
from jahslib.core.problem import Job
from jahslib.core.trials import Configuration, History, Trial
from jahslib.errors import UserError
from jahslib.experiments.profiles import RunOptions, refuse_empty, refuse_less, refuse_unknown, resolve
from jahslib.models import flower_cnn
from jahslib.optimizers.ax.optimizer import AxBO
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.random_search import RandomSearch
from jahslib.optimizers.smac_bohb import SmacBohb
from jahslib.problems import kept_weights
from jahslib.problems.constrained_cnn import ConstrainedCNN, CourseExample
from jahslib.search import Budget
from jahslib.search.runs import AnySearch, Run, retraining, run_all, run_trials, trainings
from jahslib.spaces import configurations as spaces

NOTEBOOK = "07_constrained_EA"

# Method -> its name in figures and tables. BOHB is the course's baseline, which knows no precision floor.
METHODS = {"ea_hb": "EA-HB", "ea": "EA", "rs": "RS", "bohb": "BOHB", "ax": "Ax"}


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Every option of the study; the originals' command-line names where they had one.

    `hyperband`: True leaves out the plain EA, False the one with Hyperband, None keeps both.
    `max_time`: seconds a search may take, cut at an epoch boundary. `epoch_budget`: training epochs a search may spend.
    `settings`: the (min precision, max model size) pairs of the constraint table; the first is the main comparison's.
    `retrain`: how many times reported configurations are trained for `retrain_epochs`: "row 1" as printed, "default",
    and "published 1" to "published 7" with all digits.
    `final_optimizer`: for final training; the original searched with Adam and evaluated with AdamW.
    `test`, `model_path`: of the one `configuration`; False cross-validates it on all folds, and see
    `constrained_ea_scripts.run_configuration`. `run_files`: see `constrained_ea_files.write_runs`.
    `course_bohb`: the course's BOHB example too, with convolutions of `course_channels` and rungs from the first to the
    second of `course_epochs`.
    """

    data: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    pop_size: int
    num_children: int
    epoch_budget: float
    max_epochs: int
    min_epochs: int
    folds_used: int
    constraint_max_model_size: float
    constraint_min_precision: float
    settings: tuple[tuple[float, float], ...]
    retrain: dict[str, int]
    retrain_epochs: int
    final_seeds: int
    folds: int = 3
    per_class: int | None = None
    narrowed: dict[str, Any] = field(default_factory=dict)
    hyperband: bool | None = None
    max_time: float | None = None
    precision: str = "batchwise_precision"
    continuation: str = "exact"
    parent_selection: str = "neutral"
    eta: int = 2
    optimizer: str = "adam"
    final_optimizer: str = "adamw"
    configuration: str | None = None
    test: bool = True
    model_path: str | None = None
    run_files: bool = False
    course_bohb: bool = False
    course_channels: tuple[int, int] = (512, 2048)
    course_epochs: tuple[int, int] = (5, 50)

    def __post_init__(self):
        refuse_unknown("methods", self.methods, METHODS)
        refuse_empty(self, "seeds", "methods", "settings")
        refuse_less(self, 1, "final_seeds", "retrain_epochs")
        for name, count in self.retrain.items():
            if count < 1:
                raise UserError(f"retrain: {count} trainings of {name}; give at least 1, or leave it out")
        if self.model_path is not None and (self.configuration is None or not self.test):
            raise UserError("model_path: keeps the weights of one configuration on the test split; give configuration")
        refuse_unknown("retrain", self.retrain, ("row 1", "default", *(f"published {row}" for row in range(1, 8))))


Search = AnySearch[ConstrainedCNN]


PROFILES: dict[str, dict[str, Any]] = {
    "smoke": {
        "note": "the embedded 8x8 digits, a few seconds of training: shows that the code runs, not how methods compare",
        "data": "digits",
        "methods": tuple(METHODS),
        "seeds": (0,),
        "pop_size": 4,
        "num_children": 2,
        "epoch_budget": 32,
        "max_epochs": 4,
        "min_epochs": 1,
        "folds_used": 1,
        "per_class": 20,
        "narrowed": {
            "channels": (16, 32),
            "fc_channels": (16, 64),
            "batch_size": (32, 300),
            "learning_rate_init": (1e-3, 1e-1),
        },
        "constraint_max_model_size": 2e4,
        "constraint_min_precision": 0.2,
        "settings": ((0.2, 2e4), (0.25, 2e4)),
        "retrain": {},
        "retrain_epochs": 4,
        "final_seeds": 1,
        "course_channels": (16, 32),
        "course_epochs": (1, 4),
    },
    "cpu": {
        "note": (
            "one fold of three instead of all, 32 epochs instead of 50, at most 2e5 parameters instead of 2e7 and, "
            "since so little training reaches less, a precision floor of .30 instead of .39; convolutions of 16-64 "
            "channels instead of 16-1024 with kernels of 3 and 5 pixels, batches of 64-300 instead of 4-300, learning "
            "rates of 1e-4 to 1e-1 instead of 1e-5 to 1e-1; a population of 8 instead of 50 with 4 children instead of "
            "10, and a budget of 1200 epochs a search instead of 23 hours"
        ),
        "data": "micro17flower",
        "methods": tuple(METHODS),
        "seeds": (0, 42, 123),
        "pop_size": 8,
        "num_children": 4,
        "epoch_budget": 1200,
        "max_epochs": 32,
        "min_epochs": 4,
        "folds_used": 1,
        "narrowed": {
            "channels": (16, 64),
            "kernel_size": (3, 5),
            "batch_size": (64, 300),
            "learning_rate_init": (1e-4, 1e-1),
        },
        "constraint_max_model_size": 2e5,
        "constraint_min_precision": 0.30,
        "settings": ((0.30, 2e5), (0.30, 5e5), (0.30, 1e6), (0.31, 2e5), (0.32, 2e5), (0.30, 4e4), (0.30, 2e4)),
        "retrain": {"row 1": 5, "default": 1},
        "retrain_epochs": 50,
        "final_seeds": 2,
        "course_channels": (32, 128),
        "course_epochs": (4, 32),
    },
    "paper": {
        "note": "the original's space, folds, epochs and population, with an epoch budget instead of 23 hours",
        "data": "micro17flower",
        "methods": tuple(METHODS),
        "seeds": (0, 42, 123),
        "pop_size": 50,
        "num_children": 10,
        "epoch_budget": 60_000,
        "max_epochs": 50,
        "min_epochs": 2,
        "folds_used": 3,
        "constraint_max_model_size": 2e7,
        "constraint_min_precision": 0.39,
        "settings": ((0.39, 2e7), (0.39, 5e7), (0.39, 1e8), (0.40, 2e7), (0.42, 2e7), (0.39, 4e6), (0.39, 2e6)),
        "retrain": {"row 1": 5, "default": 5},
        "retrain_epochs": 50,
        "final_seeds": 5,
    },
}

# Profile -> settings that stand for the original's, in the order of its table, scaled to what the profile reaches.
SCALED: dict[str, tuple[tuple[float, float], ...]] = {"cpu": PROFILES["cpu"]["settings"]}


def options(**given: Any) -> Options:
    """Resolve notebook parameters; see `jahslib.experiments.profiles.resolve`."""
    return resolve(Options, PROFILES, given)


def check(o: Options) -> None:
    """See `jahslib.studies.check`."""
    test_problem(o).test_images  # noqa: B018 (loads the test split)
    if o.configuration is not None:
        task = given_problem(o)
        given = spaces.read(task.space, o.configuration)
        if o.model_path is not None and (path := Path(o.model_path)).exists() and not o.fresh:
            kept_weights.check(task, Job(given, (task.max_epochs,), o.seeds[0]), path)
    for run in planned(o):
        run.check(fresh=o.fresh)
    for size in {o.constraint_max_model_size, *(size for _, size in o.settings)}:
        task = problem(o, 0, max_model_size=size)
        if spaces.sample_where(task.space, np.random.default_rng(0), task.admits) is None:
            raise UserError(
                f"constraint_max_model_size: none of 10,000 random configurations has at most {size:g} parameters; "
                "raise it"
            )


def problem(o: Options, seed: int, **changes: Any) -> ConstrainedCNN:
    """The search problem of one seed."""
    base = ConstrainedCNN(
        data=o.data,
        seed=seed,
        min_epochs=o.min_epochs,
        max_epochs=o.max_epochs,
        folds=o.folds,
        folds_used=o.folds_used,
        per_class=o.per_class,
        max_model_size=o.constraint_max_model_size,
        min_precision=o.constraint_min_precision,
        narrowed=dict(o.narrowed),
        precision=o.precision,
        continuation=o.continuation,
        optimizer=o.optimizer,
        device=o.device,
    )
    return replace(base, **changes)


def course_problem(o: Options, seed: int) -> CourseExample:
    """What the course's BOHB example searches, on the data and folds of this study."""
    same = vars(problem(o, seed, narrowed={}, max_model_size=None, min_precision=None))
    options = {f.name: same[f.name] for f in fields(ConstrainedCNN)}
    low, high = o.course_epochs
    return CourseExample(**options | {"min_epochs": low, "max_epochs": high, "channels": o.course_channels})


def test_problem(o: Options, **changes: Any) -> ConstrainedCNN:
    """Train on the whole training split, measure on the test split; the search never sees it."""
    return problem(o, 0, split="test", optimizer=o.final_optimizer, **changes)


def given_problem(o: Options) -> ConstrainedCNN:
    """What the one configuration that a file gives is trained on: any of the original's space, whatever its size."""
    unbounded: dict[str, Any] = {"narrowed": {}, "max_model_size": None, "min_precision": None}
    if o.test:
        return test_problem(o, **unbounded)
    return problem(o, o.seeds[0], folds_used=o.folds, optimizer=o.final_optimizer, **unbounded)


def logs(o: Options) -> Path:
    """Folder of the study's trial logs."""
    return paths.results(o.profile, NOTEBOOK) / "logs"


def optimizer(o: Options, method: str, task: ConstrainedCNN, seed: int) -> Optimizer:
    """The optimizer of one search; `method` is one of `METHODS`."""
    match method:
        case "ea_hb" | "ea":
            return Evolution.published(
                task,
                seed,
                pop_size=o.pop_size,
                num_children=o.num_children,
                hyperband=method == "ea_hb",
                eta=o.eta,
                parent_selection=o.parent_selection,
            )
        case "rs":
            return RandomSearch(task, seed)
        case "bohb":
            return SmacBohb(task, seed)
        case _:
            return AxBO(task, seed)


def planned(o: Options) -> list[Run]:
    """Every run that rests on no other's result, the longest first, so that workers end at about the same time."""
    courses = course_searches(o) if o.course_bohb else ()
    return [*reversed(list(retrainings(o))), *searches(o), *constraint_searches(o), *courses]


def searches(o: Options) -> Iterator[Run]:
    """The main comparison: every method with every seed, under one epoch budget."""
    left_out = {True: "ea", False: "ea_hb"}.get(o.hyperband)  # type: ignore[call-overload]
    for seed in o.seeds:
        for method in o.methods:
            if method != left_out:
                yield _search(o, method, seed, f"{method}-seed{seed}.jsonl")


def constraint_searches(o: Options) -> Iterator[Run]:
    """EA-HB under each constraint setting but the first, which the main comparison has."""
    for precision, size in o.settings[1:]:
        changed = replace(o, constraint_min_precision=precision, constraint_max_model_size=size)
        yield _search(changed, "ea_hb", o.seeds[0], f"ea_hb-precision{precision:g}-size{size:g}.jsonl")


def _search(o: Options, method: str, seed: int, log: str) -> Run:
    # The course's BOHB example knows no constraint. The size limit stays: it is what makes a trial affordable.
    task = problem(o, seed, min_precision=None) if method == "bohb" else problem(o, seed)
    return _run(o, task, optimizer(o, method, task, seed), method, log)


def _run(o: Options, task: ConstrainedCNN, chosen: Optimizer, method: str, log: str) -> Run:
    """A search of this study, by the seed of its problem's folds and under the budget of all."""
    budget = Budget(epochs=o.epoch_budget * o.folds_used, seconds=o.max_time)
    return Run(task, chosen, budget, logs(o) / log, task.seed, method, study=NOTEBOOK, profile=o.profile)


def course_searches(o: Options) -> Iterator[Run]:
    """The course's BOHB example with every seed (its script has 42), with eta 3 and under the budget of all."""
    for seed in o.seeds:
        task = course_problem(o, seed)
        yield _run(o, task, SmacBohb(task, seed), "course", f"course-seed{seed}.jsonl")


def retrainings(o: Options) -> Iterator[Run]:
    """The original's reported configurations, trained as its main script does."""
    published = reported.load(NOTEBOOK)["configurations"]
    configurations = {"row 1": flower_cnn.ROW_1, "default": flower_cnn.DEFAULT}
    configurations |= {f"published {row}": c for row, c in published.items()}
    for name, count in o.retrain.items():
        task = test_problem(o, max_epochs=o.retrain_epochs, narrowed={}, max_model_size=2e7, min_precision=0.39)
        if name.startswith("published"):  # whose logs stay valid however a profile's searches change
            task = replace(task, min_epochs=2, folds_used=3)
        yield _repeated(o, task, configurations[name], count, f"retrained-{name.replace(' ', '_')}.jsonl", "retrained")


def _repeated(o: Options, task: ConstrainedCNN, configuration: Configuration, count: int, log: str, method: str) -> Run:
    """One given configuration trained `count` times from different initial weights and measured on the test split."""
    return trainings(
        task, [configuration] * count, logs(o) / log, seed=0, method=method, study=NOTEBOOK, profile=o.profile
    )


def finished(o: Options, histories: dict[str, History]) -> list[Search]:
    """The main comparison's searches, judged by the study's constraints whatever each of them was told."""
    return [
        Search(run.method, run.seed, histories[run.log.stem], problem(o, run.seed))
        for run in searches(o)
        if run.log.stem in histories
    ]


def run_finals(o: Options, found: list[Search]) -> dict[tuple[str, int], list[Trial]]:
    """Train each incumbent on the whole training split and measure it on the test split, by (method, seed)."""
    names = {"study": NOTEBOOK, "profile": o.profile}
    runs = {(s.method, s.seed): retraining(s, test_problem(o), o.final_seeds, logs(o), **names) for s in found}
    return run_trials(runs, workers=o.workers, scheduler=o.scheduler, fresh=o.fresh)


def run_constraint_sweep(o: Options, found: list[Search]) -> tuple[list[Search], list[list[Trial]]]:
    """EA-HB's searches under each constraint setting, read where `planned` has been run, and the test trainings of
    their incumbents."""
    runs = list(constraint_searches(o))
    histories = run_all(runs, workers=o.workers, scheduler=o.scheduler) if runs else {}
    first = [s for s in found if s.method == "ea_hb" and s.seed == o.seeds[0]]
    swept = first + [Search("ea_hb", r.seed, histories[r.log.stem], r.problem) for r in runs]
    finals = []
    for s in swept:
        precision, size = s.problem.min_precision, s.problem.max_model_size
        task = test_problem(o, max_model_size=size, min_precision=precision)
        name = f"{s.method}-precision{precision:g}-size{size:g}"
        finals.append(retraining(s, task, o.final_seeds, logs(o), name=name, study=NOTEBOOK, profile=o.profile))
    return swept, _trials(o, finals)


def run_retrainings(o: Options) -> dict[str, list[Trial]]:
    """By configuration; read where `planned` has been run."""
    return dict(zip(o.retrain, _trials(replace(o, fresh=False), list(retrainings(o))), strict=True))


def class_names(o: Options) -> list[str]:
    """In label order; the flowers' classes are folders whose names were sorted as text."""
    names = (
        [str(i + 1) for i in range(17)] if o.data == "micro17flower" else [str(i) for i in range(problem(o, 0).classes)]
    )
    return sorted(names)


def log_files(o: Options) -> list[Path]:
    """The trial logs that the study's records rest on."""
    return sorted(logs(o).glob("*.jsonl"))


def _trials(o: Options, runs: list[Run]) -> list[list[Trial]]:
    numbered = dict(enumerate(runs))
    return list(run_trials(numbered, workers=o.workers, scheduler=o.scheduler, fresh=o.fresh).values())
