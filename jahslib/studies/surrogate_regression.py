"""Study 04: which surrogates are fitted to what, and where their logs stand. Notebook 04_surrogate_regression tells the
story. What is learnt from are the trials of study 03, more random ones made here, and the NAS-Bench-201 table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from jahslib import paths
from jahslib.core.optimizer import Listed, checked_seed
from jahslib.core.trials import History, Trial
from jahslib.errors import UserError
from jahslib.experiments.notebook import experiment
from jahslib.experiments.profiles import RunOptions, refuse_empty, refuse_unknown, resolve
from jahslib.optimizers.random_search import RandomSearch
from jahslib.problems import grammar_networks
from jahslib.problems.cells import nasbench201
from jahslib.problems.grammar_objectives import SOURCE_SPACES
from jahslib.problems.surrogate_regression import MODELS, Regression, digest
from jahslib.search import Budget
from jahslib.search.runs import AnySearch, Run

NOTEBOOK = "04_surrogate_regression"

Search = AnySearch[Regression]


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Every option of the study; the original's names where it had one.

    `seeds`: of the splits. `n_train`: architectures to learn from; those that `n_test` leaves no room for are skipped.
    `n_test`: architectures to predict, at most a third of what there is. `search_logs`: learn from study 03's trials
    (those missing are trained first); `rs_only`: of its random searches only. `random_trials`: random architectures
    trained beside them. `tables`: NAS-Bench-201 data sets. `log`: predict the logarithm of the error. `objective`,
    `search_space`, `max_epochs`, `batch_size`, `training`: as in study 03. `working_directory`: as there, and so where
    its trials are read; what is made here stands below it, in a folder of this study's name.
    """

    seeds: tuple[int, ...]
    n_train: tuple[int, ...]
    n_test: int
    random_trials: int
    search_logs: bool
    tables: tuple[str, ...]
    surrogate_model: tuple[str, ...] = tuple(MODELS)
    rs_only: bool = False
    log: bool = True
    objective: str = "nb201_addNIST"
    search_space: str = "hierarchical"
    max_epochs: int | None = None
    batch_size: int | None = None
    training: dict[str, Any] = field(default_factory=dict)
    random_seed: int = 0
    working_directory: str | None = None

    def __post_init__(self):
        refuse_unknown("surrogate_model", self.surrogate_model, MODELS)
        refuse_unknown("tables", self.tables, nasbench201.DATA)
        refuse_unknown("objective", [self.objective], grammar_networks.PROTOCOLS)
        refuse_unknown("search_space", [self.search_space], grammar_networks.SPACES)
        refuse_empty(self, "seeds", "n_train", "surrogate_model")
        if min(self.n_train) < 2 or self.n_test < 2 or self.random_trials < 0:
            raise UserError("n_train, n_test: give at least 2; random_trials: at least 0")
        checked_seed(self.random_seed, "random_seed")
        if not (self.random_trials or self.search_logs or self.tables):
            raise UserError("random_trials: 0, without search_logs and tables nothing is left to learn from; give some")


N_TRAIN = (10, 25, 50, 75, 100, 150, 200, 300, 400)

PROFILES: dict[str, dict[str, Any]] = {
    "smoke": {
        "note": (
            "a few tiny networks trained for one epoch, two splits, no table: shows that the code runs, not how "
            "surrogates compare"
        ),
        "seeds": (0, 1),
        "n_train": (5, 10),
        "n_test": 8,
        "random_trials": 18,
        "search_logs": False,
        "tables": (),
    },
    "cpu": {
        "note": (
            "networks of study 03's small profile, its trials and further random ones; as many training sizes as they "
            "allow; and the table"
        ),
        "seeds": tuple(range(20)),
        "n_train": N_TRAIN,
        "n_test": 150,
        "random_trials": 60,
        "search_logs": True,
        "tables": tuple(nasbench201.DATA),
    },
    "paper": {
        "note": "the original's protocol on study 03's trials, and the table",
        "seeds": tuple(range(20)),
        "n_train": N_TRAIN,
        "n_test": 500,
        "random_trials": 0,
        "search_logs": True,
        "tables": tuple(nasbench201.DATA),
    },
}


def options(**given: Any) -> Options:
    """Resolve notebook parameters: one value stands for a tuple of one.

    The table is left out where it is not at hand and `tables` is not given.

    Raises:
        UserError: an unknown option, or a value that cannot be.
    """
    several = ("surrogate_model", "tables", "n_train")
    given = {k: (v,) if k in several and isinstance(v, str | int) else v for k, v in given.items()}
    if isinstance(given.get("search_space"), str):
        name = given["search_space"]
        given["search_space"] = SOURCE_SPACES.get(name.removeprefix("nb201_"), name)
    o = resolve(Options, PROFILES, given)
    if given.get("tables") is None and o.tables and not nasbench201.at_hand():
        return replace(o, tables=(), note=f"{o.note}; the NAS-Bench-201 table was not at hand and is left out")
    return o


def check(o: Options) -> None:
    """See `jahslib.studies.check`."""
    problem(o).check()
    for run in training_runs(o):
        run.check(fresh=o.fresh and run.study == NOTEBOOK)
    if o.tables:
        nasbench201.digest()  # reads the table


def searched(o: Options) -> list[Run]:
    """Study 03's searches by training, in the same profile, for one objective and space."""
    shared = ("profile", "objective", "search_space", "max_epochs", "batch_size", "device", "working_directory")
    given = {name: getattr(o, name) for name in shared} | {"training": o.training or None}
    return experiment("03_grammar_search", given | ({"searcher": "random_search"} if o.rs_only else {})).training_plan


def problem(o: Options) -> grammar_networks.NB201:
    """What the networks that are learnt from were trained on: study 03's problem."""
    return searched(o)[0].problem  # type: ignore[return-value]


def folder(o: Options) -> Path:
    """Where the study's trial logs stand."""
    return (
        Path(o.working_directory).absolute() / NOTEBOOK if o.working_directory else paths.results(o.profile, NOTEBOOK)
    )


def training_runs(o: Options) -> Iterator[Run]:
    """Study 03's searches by training, which are read from their logs where they are finished, and random trials."""
    if o.search_logs:
        yield from searched(o)
    if o.random_trials:
        task = problem(o)
        yield Run(
            problem=task,
            optimizer=RandomSearch(task, o.random_seed),
            budget=Budget(trials=o.random_trials),
            log=folder(o) / "logs" / f"random-{o.objective}-{o.search_space}-seed{o.random_seed}.jsonl",
            seed=o.random_seed,
            method="random_search",
            study=NOTEBOOK,
            profile=o.profile,
        )


def regressions(o: Options, histories: dict[str, History]) -> Iterator[Run]:
    """For every source and split, every model with every number of training architectures that there is room for."""
    for source, grammar, architectures, values in sources(o, histories):
        n_test = min(o.n_test, len(values) // 3)
        sizes = [n for n in o.n_train if n + n_test <= len(values)]
        # A cell alone has no folding levels, so that hWL is WL there.
        models = [m for m in o.surrogate_model if grammar != "cell-based" or m != "gp_hierarchical"]
        points = [{"model": model, "n_train": n} for n in sizes for model in models]
        for seed in o.seeds:
            task = Regression(source, grammar, architectures, values, seed, n_test)
            made_of = digest([*architectures, f"{points} {n_test}"], values)
            yield Run(
                problem=task,
                optimizer=Listed(task, seed, points),
                budget=Budget(trials=len(points)),
                log=folder(o) / "logs" / f"regression-{source}-{made_of}-seed{seed}.jsonl",
                seed=seed,
                method="regression",
                study=NOTEBOOK,
                profile=o.profile,
            )


Source = tuple[str, str, tuple[str, ...], tuple[float, ...]]


def sources(o: Options, histories: dict[str, History]) -> Iterator[Source]:
    """(name, grammar, architectures, observed errors or their logarithms), the trained networks first."""
    if trained := unique(t for history in histories.values() for t in history):
        errors = tuple(t.metrics["val_error"] for t in trained)
        architectures = tuple(t.configuration["architecture"] for t in trained)
        yield f"{o.objective}-{o.search_space}", o.search_space, architectures, _observed(o, errors)
    for data in o.tables:
        # A fixed random part of the table, enough for the largest training set: a fit needs no more.
        table = nasbench201.errors(data)
        chosen = np.random.default_rng(0).permutation(len(table))[: 3 * (max(o.n_train) + o.n_test)]
        errors = tuple(float(v) for v in table.val_error.iloc[chosen])
        yield data, "cell-based", tuple(table.index[chosen]), _observed(o, errors)


def unique(trials: Iterator[Trial]) -> list[Trial]:
    """Those that succeeded, each architecture once."""
    return list({t.configuration["architecture"]: t for t in trials if t.status == "ok"}.values())


def _observed(o: Options, errors: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(v) for v in np.log(np.array(errors) + 1e-8)) if o.log else tuple(errors)


def finished(runs: Sequence[Run], histories: dict[str, History]) -> list[Search]:
    """The fits of every source and split."""
    return [AnySearch(r.method, r.seed, histories[r.log.stem], r.problem) for r in runs]  # type: ignore[arg-type]


def log_files(runs: Sequence[Run]) -> list[Path]:
    """Of the fits, and of the trials that they learnt from."""
    return sorted({r.log for r in runs})
