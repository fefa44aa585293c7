"""Study 03: which searches are run, on what, and where their logs stand. Notebook 03_grammar_search tells the story."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from jahslib import paths
from jahslib.core.optimizer import Optimizer
from jahslib.core.problem import Problem
from jahslib.core.trials import History
from jahslib.data import places, registry
from jahslib.errors import UserError
from jahslib.experiments.profiles import RunOptions, refuse_empty, refuse_unknown, resolve
from jahslib.optimizers.grammar_bo import STRATEGIES, SURROGATES, GrammarBO
from jahslib.optimizers.random_search import RandomSearch
from jahslib.optimizers.regularized_evolution import RegularizedEvolution
from jahslib.problems import activation_functions, grammar_networks
from jahslib.problems.cells import darts_cells, nasbench201
from jahslib.problems.cells.nasbench201 import NasBench201
from jahslib.problems.cells.synthetic_cells import SyntheticCells
from jahslib.search import Budget
from jahslib.search.runs import AnySearch, Run

NOTEBOOK = "03_grammar_search"

SEARCHERS = ("random_search", "regularized_evolution", "bayesian_optimization")

# Method -> its name in figures and tables: a searcher, or Bayesian optimisation with one of the surrogates.
METHODS = {
    "random_search": "random",
    "regularized_evolution": "evolution",
    "gp": "BO, WL",
    "gp_hierarchical": "BO, hWL",
}
SYNTHETIC = "synthetic-cells"

# Objective -> the spaces that it can be searched over.
OBJECTIVES = {
    **dict.fromkeys(grammar_networks.PROTOCOLS, grammar_networks.SPACES),
    activation_functions.NAME: activation_functions.ActivationFunctions.spaces,
    darts_cells.NAME: darts_cells.DartsCells.spaces,
}
SPACES = tuple(dict.fromkeys(space for spaces in OBJECTIVES.values() for space in spaces))

# The original's names of spaces -> ours.
ORIGINAL_SPACES = {
    "variable_multi_multi": "hierarchical",
    "fixed_1_none": "cell-based",
    "act_cifar10": "activation",
    "darts_cifar10": "darts-cells",
}

Search = AnySearch[Problem]


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Every option of the study; the original's names where it had one.

    `searcher`, `surrogate_model`, `objective`, `search_space`: one or several, all combinations of which are searched
    by training networks, `max_evaluations_total` each, with every one of `seeds`; an objective with a space of its own
    (`OBJECTIVES`) is searched over that. `data`: images instead of the objective's, which is then called by their name
    (act_digits); or a mapping of objectives to such. `tables`: data sets of the NAS-Bench-201
    table (or "synthetic-cells", a made-up value over the same cells) on which the searchers are compared with
    `table_seeds` and `table_evaluations`; there the two surrogates are the same, and "gp" is run. `log`: model the
    logarithm of the error. `training`: further options of `jahslib.problems.grammar_networks.NB201`. An evolution of
    fewer than three populations (`pop_size`) has one of a third of its evaluations, and tournaments of at most a third
    of that.
    `working_directory`: where logs stand (None: the profile's results); `data_path`: the folder that holds data sets.
    The rest: see `jahslib.optimizers.grammar_bo` and `regularized_evolution`.
    """

    seeds: tuple[int, ...]
    max_evaluations_total: int
    tables: tuple[str, ...] | str
    table_seeds: tuple[int, ...]
    table_evaluations: int
    searcher: tuple[str, ...] | str = SEARCHERS
    surrogate_model: tuple[str, ...] | str = ("gp_hierarchical",)
    objective: tuple[str, ...] | str = ("nb201_addNIST",)
    search_space: tuple[str, ...] | str = ("hierarchical",)
    data: dict[str, str] | str | None = None
    searched: tuple[str, ...] = ()
    max_epochs: int | None = None
    batch_size: int | None = None
    training: dict[str, Any] = field(default_factory=dict)
    n_init: int = 10
    acquisition: Literal["EI"] = "EI"
    pool_strategy: Literal["evolution", "mutation", "random"] = "evolution"
    pool_size: int = 200
    generations: tuple[int, ...] = (10, 50)
    p_self_crossover: float = 0.5
    mutate_size: int | None = None
    log: bool = True
    random_interleave_prob: float = 0.0
    maximum_noise: float = 0.5
    no_isomorphism: bool = False
    original_selection: bool = False
    pop_size: int = 30
    tournament_size: int = 10
    runtime: float | None = None
    working_directory: str | None = None
    data_path: str | None = None

    def __post_init__(self):
        refuse_unknown("searcher", self.searcher, SEARCHERS)
        refuse_unknown("surrogate_model", self.surrogate_model, SURROGATES)
        refuse_unknown("pool_strategy", [self.pool_strategy], STRATEGIES)
        refuse_unknown("tables", self.tables, (*nasbench201.DATA, SYNTHETIC))
        refuse_unknown("objective", self.objective, OBJECTIVES)
        refuse_unknown("search_space", self.search_space, SPACES)
        refuse_unknown("data", self.data if isinstance(self.data, dict) else (), OBJECTIVES)
        for objective in self.objective:
            if not spaces(self, objective):
                known = ", ".join(OBJECTIVES[objective])
                raise UserError(f"search_space: none of {objective}'s is among those given; choose from {known}")
        refuse_empty(self, "seeds", "searcher", "surrogate_model", "objective", "search_space", "tables", "table_seeds")
        if len(self.generations) != 2:
            raise UserError(f"generations: {self.generations}; give the least and the most")


PROFILES: dict[str, dict[str, Any]] = {
    "smoke": {
        "note": (
            "a made-up value over the cells instead of the table, and networks of four channels trained for one epoch "
            "on a few small images: shows that the code runs, not how searchers compare"
        ),
        "seeds": (777,),
        "max_evaluations_total": 6,
        "tables": (SYNTHETIC,),
        "table_seeds": (0, 1),
        "table_evaluations": 20,
        "max_epochs": 1,
        "batch_size": 16,
        "data": {activation_functions.NAME: "digits", darts_cells.NAME: "digits"},
        "training": {"n_train": 32, "n_val": 40, "n_test": 40, "image_size": 8, "width": 4},
        "n_init": 4,
        "pool_size": 20,
        "generations": (2, 4),
    },
    "cpu": {
        "note": (
            "networks of eight channels instead of 16, four epochs instead of 64 on 4,000 of the images, reduced to 12 "
            "pixels a side, at a higher learning rate, and 30 evaluations instead of 100; the table whole"
        ),
        "seeds": (777, 888, 999),
        "max_evaluations_total": 30,
        "tables": tuple(nasbench201.DATA),
        "table_seeds": tuple(range(30)),
        "table_evaluations": 100,
        "max_epochs": 4,
        "batch_size": 64,
        "training": {"n_train": 4000, "n_val": 2000, "n_test": 2000, "image_size": 12, "width": 8, "lr": 0.05},
    },
    "paper": {
        "note": "the original's protocols, all spaces, both surrogates",
        "seeds": (777, 888, 999),
        "max_evaluations_total": 100,
        "tables": tuple(nasbench201.DATA),
        "table_seeds": tuple(range(30)),
        "table_evaluations": 100,
        "surrogate_model": SURROGATES,
        "objective": tuple(grammar_networks.PROTOCOLS),
        "search_space": ("hierarchical", "cell-based"),
    },
}


def options(**given: Any) -> Options:
    """Resolve notebook parameters: one value stands for a tuple of one, the original's names of spaces for ours.

    Where the NAS-Bench-201 table is not at hand and `tables` is not given, the made-up value stands in for it.

    Raises:
        UserError: an unknown option, or a value that cannot be.
    """
    several = ("searcher", "surrogate_model", "objective", "search_space", "tables")
    given = {k: (v,) if k in several and isinstance(v, str) else v for k, v in given.items()}
    given = {k: tuple(v) if k in several and v is not None else v for k, v in given.items()}
    if given.get("search_space") is not None:
        given["search_space"] = tuple(ORIGINAL_SPACES.get(s.removeprefix("nb201_"), s) for s in given["search_space"])
    o = resolve(Options, PROFILES, given)
    if given.get("search_space") is not None:
        refuse_unknown("search_space", o.search_space, [s for name in o.objective for s in OBJECTIVES[name]])
    places.look_in(o.data_path, "data_path")
    if given.get("tables") is None and o.tables != (SYNTHETIC,) and not nasbench201.at_hand():
        note = f"{o.note}; the NAS-Bench-201 table was not at hand: a made-up value over its cells stands in"
        return replace(o, tables=(SYNTHETIC,), note=note)
    return o


def check(o: Options) -> None:
    """See `jahslib.studies.check`."""
    for run in searches(o):
        if isinstance(run.problem, grammar_networks.NB201):
            run.problem.check()
        run.check(fresh=o.fresh)


def methods(o: Options) -> list[str]:
    """Searchers, Bayesian optimisation once for each surrogate."""
    return [m for s in o.searcher for m in (o.surrogate_model if s == "bayesian_optimization" else (s,))]


def table_methods(o: Options) -> list[str]:
    """On a single cell nothing can be folded, so that the hierarchical kernel is the plain one."""
    return list(dict.fromkeys("gp" if m in SURROGATES else m for m in methods(o)))


def table_problem(name: str) -> NasBench201 | SyntheticCells:
    """The problem of one of the study's tables."""
    return SyntheticCells() if name == SYNTHETIC else NasBench201(name)


def spaces(o: Options, objective: str) -> list[str]:
    """Those of `o.search_space` that an objective can be searched over; its only one, whatever is given."""
    own = OBJECTIVES[objective]
    return [space for space in o.search_space if space in own] if len(own) > 1 else list(own)


def problem(o: Options, objective: str, space: str) -> grammar_networks.NB201:
    """A problem of networks that are trained; all searches share its images."""
    own: dict[str, Any] = {"grammar": space, "searched": o.searched, "device": o.device}
    own |= {k: getattr(o, k) for k in ("max_epochs", "batch_size") if getattr(o, k) is not None}
    images = o.data.get(objective) if isinstance(o.data, dict) else o.data
    if images is not None:
        channels = registry.load(images).shape["channels"]
        own |= {"name": f"{objective.partition('_')[0]}_{images}", "data": images}
        own |= {"mean": (127.5,) * channels, "std": (63.75,) * channels}
    own |= o.training
    match objective:
        case activation_functions.NAME:
            return activation_functions.problem(**own)
        case darts_cells.NAME:
            return darts_cells.problem(**own)
        case _:
            return grammar_networks.problem(objective, **own)


def optimizer(o: Options, method: str, task: Problem, seed: int, evaluations: int) -> Optimizer:
    """The optimizer of one search of so many evaluations; `method` is one of `METHODS`."""
    match method:
        case "random_search":
            return RandomSearch(task, seed)
        case "regularized_evolution":
            size = min(o.pop_size, max(2, evaluations // 3))
            drawn = min(o.tournament_size, max(2, round(size / 3)))
            return RegularizedEvolution(task, seed, pop_size=size, tournament_size=drawn)
        case _:
            return GrammarBO(
                task,
                seed,
                surrogate_model=method,  # type: ignore[arg-type]
                n_init=o.n_init,
                pool_strategy=o.pool_strategy,
                pool_size=o.pool_size,
                generations=o.generations,  # type: ignore[arg-type]
                p_self_crossover=o.p_self_crossover,
                mutate_size=o.mutate_size,
                log_objective=o.log,
                random_interleave_prob=o.random_interleave_prob,
                maximum_noise=o.maximum_noise,
                no_isomorphism=o.no_isomorphism,
                original_selection=o.original_selection,
            )


def folder(o: Options) -> Path:
    """Where the study's trial logs stand."""
    return Path(o.working_directory).absolute() if o.working_directory else paths.results(o.profile, NOTEBOOK)


def table_searches(o: Options) -> Iterator[Run]:
    """Every method on every table with every one of its seeds."""
    for table in o.tables:
        task = table_problem(table)
        for seed in o.table_seeds:
            for method in table_methods(o):
                yield _run(o, task, method, seed, o.table_evaluations, f"table-{method}-{table}-seed{seed}")


def training_searches(o: Options) -> Iterator[Run]:
    """Every method on every objective and space with every seed."""
    for objective in o.objective:
        for space in spaces(o, objective):
            task = problem(o, objective, space)
            for seed in o.seeds:
                for method in methods(o):
                    name = f"{method}-{task.name}-{space}-seed{seed}"
                    yield _run(o, task, method, seed, o.max_evaluations_total, name)


def searches(o: Options) -> Iterator[Run]:
    """All of the study's, those on tables first."""
    yield from table_searches(o)
    yield from training_searches(o)


def _run(o: Options, task: Problem, method: str, seed: int, trials: int, name: str) -> Run:
    return Run(
        problem=task,
        optimizer=optimizer(o, method, task, seed, trials),
        budget=Budget(trials=trials, seconds=o.runtime),
        log=folder(o) / "logs" / f"{name}.jsonl",
        seed=seed,
        method=method,
        study=NOTEBOOK,
        profile=o.profile,
    )


def finished(runs: Iterator[Run], histories: dict[str, History]) -> list[Search]:
    """The searches that have a history, by log name."""
    return [AnySearch(r.method, r.seed, histories[r.log.stem], r.problem) for r in runs if r.log.stem in histories]


def log_files(o: Options) -> list[Path]:
    """The trial logs that the study's records rest on."""
    return sorted((folder(o) / "logs").glob("*.jsonl"))
