"""Grammar BO on a recursive grammar, where flat tools cannot go, beside NePS' search of the same terms.

    python -m benchmarks.recursive [--seeds 30] [--logs FOLDER] [--environments FOLDER]

A term is a function of one variable: `UnaryTopo(f)` is f(x), `Chain(f, g)` is g(f(x)), and `BinaryTopo(h, f, g)` is
h(f(x), g(x)), where f and g are terms again, so that it has no fixed number of hyperparameters. Its error is the share
of a target's variance that it does not explain, after scaling and shifting, at 121 points of [-3, 3]. NePS has the same
productions with the same odds, and no limit of depth. Every search has 100 evaluations and is logged: an interrupted
run goes on. Writes benchmarks/recursive.md.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import special

from benchmarks.peers import environments
from benchmarks.peers.tables import proposing
from benchmarks.peers.with_neps import NepsEvolution
from jahslib.core.optimizer import Optimizer, Replayed
from jahslib.core.problem import Problem
from jahslib.core.trials import Configuration
from jahslib.optimizers.random_search import RandomSearch
from jahslib.optimizers.regularized_evolution import RegularizedEvolution
from jahslib.problems.function import Function
from jahslib.search import Budget, search, triallog
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.productions import DEEPEST, Production
from jahslib.spaces.grammars.space import ARCHITECTURE, GrammarSpace
from jahslib.spaces.grammars.terms import Term

TABLE, ROOT = Path(__file__).with_suffix(".md"), Path(__file__).parents[1]
EVALUATIONS, DEPTH = 100, 6

X = np.linspace(-3, 3, 121)
UNARY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "id": lambda x: x,
    "neg": np.negative,
    "abs": np.abs,
    "square": np.square,
    "sin": np.sin,
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "softplus": partial(np.logaddexp, 0.0),
    "gaussian": lambda x: np.exp(-np.square(x)),
    "relu": lambda x: np.maximum(x, 0.0),
}
BINARY = {"add": np.add, "multi": np.multiply, "sub": np.subtract, "max": np.maximum}
TARGETS = {"damped": np.exp(-X / 2) * np.sin(2 * X), "chirp": X * np.sin(np.square(X))}

TEXT = f"""
BinaryTopo: 4-5 1-2 1-3 2-4 3-4
Chain: 1-2 2-3
UnaryTopo: 1-2

F -> BinaryTopo(BINARY, F, F, id, id) | Chain(F, UNARY) | UnaryTopo(UNARY) | UnaryTopo(UNARY)
UNARY -> {" | ".join(UNARY)}
BINARY -> {" | ".join(BINARY)}
"""


def values(term: Term) -> np.ndarray:
    """The term's function at the points, shape 121."""
    first, *others = [child for child in term.children if isinstance(child, Term)]
    if term.head == "UnaryTopo":
        return UNARY[first.head](X)
    if term.head == "Chain":
        return UNARY[others[0].head](values(first))
    return BINARY[first.head](*map(values, others))


def error(space: GrammarSpace, target: np.ndarray, configuration: Configuration) -> float:
    """1 less the squared correlation with the target; 1 of what is constant or not finite."""
    with np.errstate(all="ignore"):
        found = values(space.term(configuration))
        r = np.corrcoef(found, target)[0, 1]
    return 1 - r**2 if np.isfinite(r) else 1.0


def problem(target: str, depth: int = DEPTH) -> Function:
    space = GrammarSpace(Grammar(TEXT, depth), name="functions")
    return Function(target, space, partial(error, space, TARGETS[target]), worst=1.0)


class NepsTerms(NepsEvolution):
    """Regularized evolution on a grammar as NePS' own space: an `Operation` a production, `ByName` where it recurs."""

    def __post_init__(self):
        Replayed.__post_init__(self)

    def pipeline(self) -> Any:
        import neps

        grammar: Grammar = self.problem.space.grammar  # type: ignore[union-attr]
        made, begun = {}, set()

        def choice(p: Production) -> Any:
            if p.topology is None:
                return f"({p.symbol} {p.head})"
            inside: list[Any] = list(p.children)
            for i, name in p.open:
                inside[i] = symbol(name)
            return neps.Operation(partial(_written, p.symbol, p.head), args=inside).resample()

        def symbol(name: str) -> Any:
            if name in begun and name not in made:
                return neps.ByName(name).resample()
            if name not in made:
                begun.add(name)
                made[name] = neps.Categorical(choices=tuple(map(choice, grammar.productions[name])))
            return made[name].resample()

        symbol(grammar.start)
        space = neps.PipelineSpace()
        setattr(space, grammar.start, made[grammar.start])
        return space

    def values(self, config: dict[str, Any]) -> dict[str, Any]:
        return {ARCHITECTURE: super().values(config)[self.problem.space.grammar.start]}  # type: ignore[union-attr]

    def suggest(self) -> tuple[Configuration, float]:
        return self.asked(), self.problem.fidelity.high


class NepsRandom(NepsTerms):
    """NePS' random search of the same space."""

    algorithm = "neps_random_search"


def _written(symbol: str, head: str, *children: str) -> str:
    return f"({symbol} {head} {' '.join(children)})"


def grammar_bo(problem: Problem, seed: int) -> Optimizer:
    from jahslib.optimizers.grammar_bo import GrammarBO

    return GrammarBO(problem, seed)


METHODS: dict[str, Callable[[Problem, int], Optimizer]] = {
    "bo": grammar_bo,
    "evolution": RegularizedEvolution,
    "random": RandomSearch,
    "neps_evolution": lambda problem, seed: NepsTerms(problem, seed, EVALUATIONS),
    "neps_random": lambda problem, seed: NepsRandom(problem, seed, EVALUATIONS),
}
LABELS = {
    "bo": "BO, hWL",
    "evolution": "regularized evolution",
    "random": "random search",
    "neps_evolution": "NePS, regularized evolution",
    "neps_random": "NePS, random search",
}
NEPS = tuple(name for name in METHODS if name.startswith("neps"))


def log_path(logs: Path, target: str, method: str, seed: int) -> Path:
    return logs / f"{target}-{method}-seed{seed}.jsonl"


def run(methods: tuple[str, ...], seeds: int, logs: Path) -> None:
    for seed in range(seeds):
        for target in TARGETS:
            for method in methods:
                posed = problem(target, DEEPEST if method in NEPS else DEPTH)
                log = log_path(logs, target, method, seed)
                if not log.exists() or triallog.read(log).end is None:
                    fresh = method in NEPS  # which goes on from no log
                    optimizer = METHODS[method](posed, seed)
                    history = search(posed, optimizer, Budget(trials=EVALUATIONS), log, seed=seed, fresh=fresh)
                    print(target, method, seed, posed.incumbent(history).metrics["value"], flush=True)  # type: ignore[union-attr]


def table(logs: Path) -> list[str]:
    """Markdown: errors by target and method, and the differences from BO's, paired by seed."""
    import pandas as pd

    from jahslib.analysis.pairs import paired_table

    rows = []
    for path in sorted(logs.glob("*.jsonl")):
        target, method, seed = path.stem.split("-")
        logged = triallog.read(path)
        found = problem(target).incumbent(logged.trials)
        if logged.end is not None and found is not None:
            cost = {"ms": 1000 * proposing(logged.trials)}
            names = {"task": target, "method": LABELS[method], "seed": int(seed.removeprefix("seed"))}
            rows.append(names | {"error": found.metrics["value"]} | cost)
    found = pd.DataFrame(rows)
    lines = ["| target | method | n | error, mean | median | best | ms a proposal |", "|---|---|---|---|---|---|---|"]
    for target in TARGETS:
        for label in LABELS.values():
            of = found[(found.task == target) & (found.method == label)]
            cells = f"{of.error.mean():.3f} | {of.error.median():.3f} | {of.error.min():.3f} | {of.ms.median():.3g}"
            lines.append(f"| {target} | {label} | {len(of)} | {cells} |")
    lines += ["", "| target | beside | error of BO less its | BO not behind in | p (Holm) |", "|---|---|---|---|---|"]
    for row in paired_table(found, [LABELS["bo"]], ["error"], lowest=True).to_dict("records"):
        interval = f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
        level = f"{row['n'] - row['above']} of {row['n']}"
        lines.append(f"| {row['task']} | {row['second']} | {interval} | {level} | {row['p_holm']:.2g} |")
    return lines


def write(logs: Path) -> None:
    head, _, about = (__doc__ or "").split("\n\n")
    about = about.rpartition(" Writes ")[0].replace("\n", " ")
    lines = [f"# {head.rstrip('.')}", "", f"Written by `python -m benchmarks.recursive`. {about}", "", *table(logs)]
    print("\n".join(lines))
    TABLE.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--logs", type=Path, default=Path("recursive-logs"), help="folder of the trial logs")
    parser.add_argument("--environments", type=Path, default=environments.FOLDER, help="where NePS is installed")
    parser.add_argument("--neps", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.neps:
        return run(NEPS, options.seeds, options.logs)
    command = [environments.make("peers", options.environments), "-P", "-m", "benchmarks.recursive", "--neps"]
    command += ["--seeds", options.seeds, "--logs", options.logs.resolve()]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([str(part) for part in command], env=env, cwd=ROOT, check=True)
    run(tuple(name for name in METHODS if name not in NEPS), options.seeds, options.logs)
    write(options.logs)


if __name__ == "__main__":
    sys.exit(main())
