"""Study 01: which searches are run, on what, and where their logs stand. Notebook 01_growing_bohb tells the story."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jahslib import paths, places
from jahslib.optimizer import Optimizer
from jahslib.optimizers.random_search import RandomSearch
from jahslib.optimizers.smac_bohb import SmacBohb
from jahslib.problems.growing_convnet import BASELINE, INCUMBENT, GrowingConvNets, Searched, grows
from jahslib.profiles import RunOptions, refuse_empty, refuse_less, refuse_unknown, resolve
from jahslib.search import Budget
from jahslib.studies.runs import AnySearch, Run, retraining, run_trials, trainings
from jahslib.trials import History, Trial

NOTEBOOK = "01_growing_bohb"

# Method -> its name in figures and tables, and what it searches.
METHODS = {
    "bohb": "BOHB growing",
    "rs": "RS growing",
    "static": "BOHB static",
    "nas": "architecture only",
    "hpo": "hyperparameters only",
}
SEARCHED: dict[str, Searched] = {
    "bohb": "joint",
    "rs": "joint",
    "static": "static",
    "nas": "architecture",
    "hpo": "hyperparameters",
}

Search = AnySearch[GrowingConvNets]


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Every option of the study; the original's command-line names where it had one.

    `runtime`: seconds a search may take, cut at an epoch boundary. `epoch_budget`: training epochs a search may spend
    on each fold. `reproduce_paper`: growing networks use NORTH-Select's trigger instead of the thresholds.
    `data_dir`: the folder that holds data sets. `working_dir`: where trial logs and found configurations stand; None is
    the profile's results folder.
    `growth`: options of `jahslib.models.neurogenesis.GrowthRule`, such as {"every": 1, "initialisation": "random"}.
    """

    data: str
    per_class: int | None
    seeds: tuple[int, ...]
    epoch_budget: float
    min_epochs: int
    max_epochs: int
    folds_used: int
    final_seeds: int
    trace_every: int
    methods: tuple[str, ...] = tuple(METHODS)
    folds: int = 3
    runtime: float | None = None
    max_params: int | None = 30_000
    initial_width: int = 8
    growth: dict[str, Any] = field(default_factory=dict)
    batch_norm: str = "batch"
    reproduce_paper: bool = False
    eta: int = 3
    n_init: int | None = None
    data_dir: str | None = None
    working_dir: str | None = None

    def __post_init__(self):
        refuse_unknown("methods", self.methods, METHODS)
        refuse_empty(self, "seeds", "methods")
        refuse_less(self, 1, "final_seeds")


PROFILES: dict[str, dict[str, Any]] = {
    "smoke": {
        "note": "300 of mnist5k's digits, a few steps of training: shows that the code runs, not how methods compare",
        "data": "mnist5k",
        "per_class": 30,
        "seeds": (0,),
        "epoch_budget": 12,
        "min_epochs": 1,
        "max_epochs": 3,
        "folds_used": 1,
        "final_seeds": 1,
        "trace_every": 1,
        "growth": {"every": 1},
    },
    "cpu": {
        "note": (
            "the first 600 training images of each class (6,000 of 60,000) and one fold of three, so 40 steps an epoch "
            "instead of 400; a budget of 152 epochs a search, which is four rounds of Hyperband or about 20 "
            "configurations, instead of six hours or 60 configurations; three seeds instead of one"
        ),
        "data": "fashion_mnist",
        "per_class": 600,
        "seeds": (0, 1, 2),
        "epoch_budget": 152,
        "min_epochs": 3,
        "max_epochs": 10,
        "folds_used": 1,
        "final_seeds": 2,
        "trace_every": 5,
    },
    "paper": {
        "note": "the original's data, folds, epochs and number of configurations; an epoch budget beside its six hours",
        "data": "fashion_mnist",
        "per_class": None,
        "seeds": (0, 1, 2),
        "epoch_budget": 456,
        "min_epochs": 3,
        "max_epochs": 10,
        "folds_used": 3,
        "final_seeds": 5,
        "trace_every": 50,
        "runtime": 21_600.0,
    },
}


def options(**given: Any) -> Options:
    """Resolve notebook parameters; see `jahslib.profiles.resolve`."""
    o = resolve(Options, PROFILES, given)
    places.look_in(o.data_dir, "data_dir")
    return o


def check(o: Options) -> None:
    """See `jahslib.studies.check`."""
    test_problem(o).test_images  # noqa: B018 (loads the test split)
    for method in o.methods:
        problem(o, method).check()
    for run in searches(o):
        run.check(fresh=o.fresh)


def problem(o: Options, method: str, **changes: Any) -> GrowingConvNets:
    """What a method searches; the folds are the same for every seed, as in the original."""
    searched = SEARCHED[method]
    rule = dict(o.growth)
    if o.reproduce_paper:
        rule |= {"trigger": "north", "every": rule.get("every", 1)}
        searched = "north" if searched == "joint" else searched
    base = GrowingConvNets(
        data=o.data,
        min_epochs=o.min_epochs,
        max_epochs=o.max_epochs,
        folds=o.folds,
        folds_used=o.folds_used,
        per_class=o.per_class,
        searched=searched,
        max_params=o.max_params,
        initial_width=o.initial_width,
        rule=rule,
        batch_norm=o.batch_norm,  # type: ignore[arg-type]
        device=o.device,
    )
    return replace(base, **changes)


def test_problem(o: Options, method: str = "bohb") -> GrowingConvNets:
    """Train on the whole training split, measure on the test split; the search never sees it."""
    traced = SEARCHED[method] in ("joint", "architecture")
    return problem(o, method, split="test", trace_every=o.trace_every if traced else 0)


def folder(o: Options) -> Path:
    """Where the study's trial logs stand, in `logs`."""
    return Path(o.working_dir).absolute() if o.working_dir else paths.results(o.profile, NOTEBOOK)


def optimizer(o: Options, method: str, task: GrowingConvNets, seed: int) -> Optimizer:
    """The optimizer of one search; `method` is one of `METHODS`."""
    if method == "rs":
        return RandomSearch(task, seed)
    return SmacBohb(task, seed, eta=o.eta, n_init=o.n_init)


def searches(o: Options) -> Iterator[Run]:
    """Every method with every seed, under one epoch budget."""
    for seed in o.seeds:
        for method in o.methods:
            task = problem(o, method)
            yield Run(
                problem=task,
                optimizer=optimizer(o, method, task, seed),
                budget=Budget(epochs=o.epoch_budget * o.folds_used, seconds=o.runtime),
                log=folder(o) / "logs" / f"{method}-seed{seed}.jsonl",
                seed=seed,
                method=method,
                study=NOTEBOOK,
                profile=o.profile,
            )


def finished(o: Options, histories: dict[str, History]) -> list[Search]:
    """The searches that have a history, by log name."""
    runs = {run.log.stem: run for run in searches(o)}
    return [Search(runs[log].method, runs[log].seed, h, problem(o, runs[log].method)) for log, h in histories.items()]


def run_finals(o: Options, found: Sequence[Search]) -> dict[tuple[str, int], list[Trial]]:
    """Train each incumbent on the whole training split and measure it on the test split, by (method, seed)."""
    logs, names = folder(o) / "logs", {"study": NOTEBOOK, "profile": o.profile}
    runs = {(s.method, s.seed): retraining(s, test_problem(o, s.method), o.final_seeds, logs, **names) for s in found}
    return run_trials(runs, workers=o.workers, scheduler=o.scheduler, fresh=o.fresh)


def reported_networks(o: Options) -> Iterator[Run]:
    """The original's incumbent and baseline, trained five times each as it reports them.

    Study 02's test comparison trains the same with seed 0; these are further trainings.
    """
    for name, configuration in (("baseline", BASELINE), ("incumbent", INCUMBENT)):
        log = folder(o) / "logs" / f"reported-{name}.jsonl"
        names = {"method": f"reported {name}", "study": NOTEBOOK, "profile": o.profile}
        yield trainings(test_problem(o), [configuration] * 5, log, seed=1, **names)


def growing(found: Sequence[Search]) -> list[Search]:
    """Searches whose incumbent grows."""
    return [s for s in found if grows(s.incumbent.configuration)]


def log_files(o: Options) -> list[Path]:
    """The trial logs that the study's records rest on."""
    return sorted((folder(o) / "logs").glob("*.jsonl"))
