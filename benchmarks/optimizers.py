"""Regret of the optimizers that need no model, beside random search and Optuna's TPE, on three kinds of problems.

    python -m benchmarks.optimizers [--seeds 10] [--kinds lcbench,refits] [--methods ea,ea_hb] [--results FILE]

The budget pays for 40 full trainings. Every method is asked by the library's own interface; a promoted trial is charged
by `Problem.epochs`: the further epochs where trainings continue, all of them where a higher fidelity is a refit. Only
a feasible trial at the highest fidelity counts; a search without one has a regret of 1. Regret is the distance from the
best of 2,000 random points (the feasible ones), divided by their range (of all), on values without noise; it is
negative where a search found better than all of these. Intervals are of 95 % over the problems, each of which counts
with its mean over the seeds; "less random's" and "less TPE's" are differences, below zero where the row's method is
ahead, "none feasible" counts searches. The defaults of EA and EA-HB were settled on the twelve tasks of LCBench, which
so flatter them; study 08 has its other 22. With --results, finished searches are read from a file of JSON lines and
added to it.
"""

import argparse
import json
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ConfigSpace.hyperparameters import CategoricalHyperparameter, IntegerHyperparameter, OrdinalHyperparameter
from ConfigSpace.types import NotSet
from scipy import stats

from benchmarks.landscapes import Architectures, Drawn, Refits
from jahslib.core.problem import Job, Problem
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.published_evolution import PublishedEvolution
from jahslib.optimizers.random_search import RandomSearch
from jahslib.optimizers.regularized_evolution import RegularizedEvolution
from jahslib.optimizers.successive_halving import ASHA, Hyperband
from jahslib.problems.benchmarks import TUNING, Benchmark, of_lcbench
from jahslib.search.search import Optimizer

TABLE = Path(__file__).with_suffix(".md")
TRAININGS = 40
INSTANCES = 12

# Method -> (name in the table, how it is made); TPE is asked in another way.
METHODS: dict[str, tuple[str, Callable[[Problem, int], Optimizer] | None]] = {
    "rs": ("random search", RandomSearch),
    "tpe": ("TPE (Optuna)", None),
    "ea": ("EA", Evolution),
    "ea_hb": ("EA-HB", lambda problem, seed: Evolution(problem, seed, hyperband=True)),
    "re": ("regularized evolution", RegularizedEvolution),
    "hb": ("Hyperband", Hyperband),
    "asha": ("ASHA", ASHA),
    "published_ea": ("EA as published, population 10", lambda p, seed: PublishedEvolution(p, seed, pop_size=10)),
    "published_ea_hb": (
        "EA-HB as published, population 10",
        lambda p, seed: PublishedEvolution(p, seed, pop_size=10, hyperband=True),
    ),
}


def landscape(problem: Drawn) -> Benchmark:
    points = problem.reference
    return Benchmark(problem, "true", points.max(), points.max() - points.min())


KINDS: dict[str, tuple[str, Callable[[], Iterator[tuple[str, Callable[[], Benchmark]]]]]] = {
    "lcbench": ("LCBench, twelve tuning tasks", lambda: ((t, lambda t=t: of_lcbench(t)) for t in TUNING)),
    "floor": (
        "LCBench with balanced accuracy at least its 70th percentile",
        lambda: ((t, lambda t=t: of_lcbench(t, "floor")) for t in TUNING),
    ),
    "limit": (
        "LCBench with time at most its median",
        lambda: ((t, lambda t=t: of_lcbench(t, "limit")) for t in TUNING),
    ),
    "architectures": (
        f"Conditional architecture spaces of 32 to 36 choices, {INSTANCES} drawn",
        lambda: ((str(i), lambda i=i: landscape(Architectures(i))) for i in range(INSTANCES)),
    ),
    "refits": (
        f"Fidelities that are refits, {INSTANCES} drawn",
        lambda: ((str(i), lambda i=i: landscape(Refits(i))) for i in range(INSTANCES)),
    ),
}


# Searches ---------------------------------------------------------------------------------------------------------


def searched(problem: Problem, method: str, seed: int) -> History:
    make = METHODS[method][1]
    return tpe(problem, seed) if make is None else search(problem, make(problem, seed), seed)


def search(problem: Problem, optimizer: Optimizer, seed: int) -> History:
    """The search loop's rules in memory, with one worker: promotions are charged what `Problem.epochs` says, and the
    first suggestion that the budget does not pay for ends it."""
    history, budget = History(), TRAININGS * problem.epochs((problem.fidelity.high,))
    while suggestion := optimizer.ask(history):
        ancestors = () if suggestion.parent is None else history.lineage(suggestion.parent)
        stages = (*(history.suggestions[i].fidelity for i in ancestors), suggestion.fidelity)
        if history.spent + problem.epochs(stages) > budget * (1 + 1e-9):
            break
        record(problem, history, suggestion, stages, seed)
    return history


def record(problem: Problem, history: History, suggestion: Suggestion, stages: tuple[float, ...], seed: int) -> Trial:
    id = history.ask(suggestion)
    root = np.random.SeedSequence([seed, history.lineage(id)[0]])
    outcome = problem.evaluate(Job(suggestion.configuration, stages, int(root.generate_state(1)[0])))
    metrics = {**problem.known(suggestion.configuration), **outcome.metrics}
    trial = Trial(**vars(suggestion), id=id, metrics=metrics, epochs=outcome.epochs, asked=len(history.suggestions))
    history.finish(trial)
    return trial


def tpe(problem: Problem, seed: int) -> History:
    """Optuna's TPE with its defaults, by its own ask and tell; constraints by its `constraints_func`."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    limits = problem.constraints
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constraints_func is marked experimental
        sampler = optuna.samplers.TPESampler(
            seed=seed, constraints_func=(lambda trial: trial.user_attrs["excess"]) if limits else None
        )
    study, history = optuna.create_study(sampler=sampler), History()
    for _ in range(TRAININGS):
        asked = study.ask()
        high = problem.fidelity.high
        trial = record(problem, history, Suggestion(suggested(problem, asked), high), (high,), seed)
        if limits:
            asked.set_user_attr("excess", [limit.excess(trial.metrics) for limit in limits])
        study.tell(asked, problem.cost(trial))
    return history


def suggested(problem: Problem, trial: Any) -> dict[str, Any]:
    """A configuration by Optuna's define-by-run interface: only what is active is asked for."""
    values = dict.fromkeys(problem.space, NotSet)
    for name, hp in problem.space.items():
        if not all(c.satisfied_by_value(values) for c in problem.space.parent_conditions_of[name]):
            continue
        if isinstance(hp, CategoricalHyperparameter):
            values[name] = trial.suggest_categorical(name, list(hp.choices))
        elif isinstance(hp, OrdinalHyperparameter):
            values[name] = hp.sequence[trial.suggest_int(name, 0, len(hp.sequence) - 1)]
        elif isinstance(hp, IntegerHyperparameter):
            values[name] = trial.suggest_int(name, hp.lower, hp.upper, log=hp.log)
        else:
            values[name] = trial.suggest_float(name, hp.lower, hp.upper, log=hp.log)
    return {name: value for name, value in values.items() if value is not NotSet}


# Tables -----------------------------------------------------------------------------------------------------------


def difference(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Mean difference over problems with its 95 % interval."""
    paired = ours - theirs
    half = stats.t.ppf(0.975, len(paired) - 1) * paired.std(ddof=1) / math.sqrt(len(paired)) if len(paired) > 1 else 0
    return f"{paired.mean():+.4f} ± {half:.4f}"


def table(found: dict[str, np.ndarray]) -> list[str]:
    """Rows of one kind; `found` has an array of shape (problems, seeds) for each method."""
    columns = "method", "mean regret", "of random's", "ahead of random", "less random's", "less TPE's", "none feasible"
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    random, other = (found[m].mean(1) if m in found else None for m in ("rs", "tpe"))
    for method, regrets in found.items():
        means = regrets.mean(1)
        cells = [METHODS[method][0], f"{means.mean():.4f}"]
        if random is None or method == "rs":
            cells += ["", "", ""]
        else:
            ahead = f"{(means < random).sum()} of {len(means)}"
            cells += [f"{means.mean() / random.mean():.2f}", ahead, difference(means, random)]
        cells += ["" if other is None or method == "tpe" else difference(means, other)]
        lines.append(f"| {' | '.join(cells)} | {(regrets == 1.0).sum()} of {regrets.size} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--results", type=Path, help="finished searches as JSON lines, read and added to")
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name} too")
    options = parser.parse_args()
    kept, lines = Kept(options.results), []
    for kind in options.kinds.split(","):
        found = regrets(kind, options.methods.split(","), options.seeds, kept)
        lines += [f"## {KINDS[kind][0]}", "", *table(found), ""]
        print("\n".join(lines[-len(found) - 5 :]), flush=True)
    if options.write:
        TABLE.write_text("\n".join([*heading(options.seeds), *lines]))


def regrets(kind: str, methods: list[str], seeds: int, kept: "Kept") -> dict[str, np.ndarray]:
    """Method -> array of shape (problems, seeds)."""
    found: dict[str, list[list[float]]] = {method: [] for method in methods}
    for name, make in KINDS[kind][1]():
        task = None
        for method, rows in found.items():
            rows.append([])
            for seed in range(seeds):
                regret = kept.get(kind, name, method, seed)
                if regret is None:
                    task = task or make()
                    regret = task.regret(task.problem.incumbent(searched(task.problem, method, seed)))
                    kept.add(kind, name, method, seed, regret)
                rows[-1].append(regret)
    return {method: np.array(rows) for method, rows in found.items()}


class Kept:
    """Regrets of finished searches, in a file if there is one."""

    def __init__(self, file: Path | None):
        self.file = file
        lines = file.read_text().splitlines() if file and file.exists() else []
        self.known = {tuple(key): regret for key, regret in map(json.loads, lines)}

    def get(self, *key: Any) -> float | None:
        return self.known.get(key)

    def add(self, *key_and_regret: Any) -> None:
        *key, regret = key_and_regret
        self.known[tuple(key)] = regret
        if self.file:
            with open(self.file, "a") as out:
                out.write(json.dumps([key, regret]) + "\n")


def heading(seeds: int) -> list[str]:
    import onnxruntime
    import optuna

    return [
        "# Regret of the optimizers that need no model",
        "",
        f"Written by `python -m benchmarks.optimizers --write`: {seeds} seeds, budget of {TRAININGS} full trainings,",
        f"every method with its defaults. Optuna {optuna.__version__}, onnxruntime {onnxruntime.__version__};",
        "the whole takes about half an hour of CPU time, two thirds of it for TPE.",
        "",
        *__doc__.split("\n\n")[2].strip().splitlines(),
        "",
    ]


if __name__ == "__main__":
    main()
