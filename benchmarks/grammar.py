"""Speed of grammar search spaces and their surrogates against the original's, on one thread.

    python -m benchmarks.grammar [--quick]

The original (NePS 59a14fa, Python 3.8, torch 1.12) was measured in CPU seconds on one thread of another machine; the
ratios compare with that. One proposal is the whole acquisition search of Bayesian optimisation with 100 observations:
a fit, then a pool of 200 that evolves for all of its 50 generations. The terms of each measurement are new, so that
nothing remembered of them helps; the parents of varied terms are not, as in a search. Writes benchmarks/grammar.md and
grammar.png, the cost against the number of observations.
"""

import argparse
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
import torch

from jahslib.figures import panels
from jahslib.optimizers import acquisition_pool
from jahslib.spaces.grammars import evolve, examples
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.space import GrammarSpace, Point
from jahslib.spaces.grammars.terms import Term
from jahslib.surrogates import gp
from jahslib.surrogates.wl import TermTable

TABLE, FIGURE = Path(__file__).with_suffix(".md"), Path(__file__).with_suffix(".png")
HIERARCHICAL, CELL_BASED = "hierarchical", "cell-based"
POOL, GENERATIONS = 200, 50

# CPU seconds of the original; a proposal's are an estimate from its parts, 15 to 75 minutes for the hierarchical space
ORIGINAL = {
    ("sample", HIERARCHICAL): 0.46,
    ("sample", CELL_BASED): 0.015,
    ("mutate", HIERARCHICAL): 0.38,
    ("mutate", CELL_BASED): 0.024,
    ("crossover", HIERARCHICAL): 0.74,
    ("crossover", CELL_BASED): 0.032,
    ("self-crossover", HIERARCHICAL): 0.74,
    ("self-crossover", CELL_BASED): 0.028,
    ("fit hWL, N = 10", HIERARCHICAL): 9.8,
    ("fit hWL, N = 25", HIERARCHICAL): 27.0,
    ("fit hWL, N = 50", HIERARCHICAL): 51.0,
    ("fit hWL, N = 100", HIERARCHICAL): 96.0,
    ("fit WL, N = 100", HIERARCHICAL): 82.0,
    ("fit WL, N = 10", CELL_BASED): 2.9,
    ("fit WL, N = 50", CELL_BASED): 14.7,
    ("EI of 200, N = 10", HIERARCHICAL): 13.8,
    ("EI of 200, N = 50", CELL_BASED): 3.3,
    ("proposal, N = 100", HIERARCHICAL): 15 * 60.0,
}
REQUIRED = {
    ("sample", HIERARCHICAL): 0.005,
    ("mutate", HIERARCHICAL): 0.005,
    ("fit hWL, N = 100", HIERARCHICAL): 1.0,
    ("fit hWL of counted terms, N = 100", HIERARCHICAL): 0.1,
    ("proposal, N = 100", HIERARCHICAL): 3.0,
}


def observed(grammar: Grammar, n: int, rng: np.random.Generator) -> tuple[list[Term], np.ndarray]:
    """New terms with a value that their parts decide, and noise."""
    terms = [grammar.sample(rng) for _ in range(n)]
    shares = [np.mean([t.head in ("conv3x3", "conv3x3o", "Residual3", "id") for t in term.walk()]) for term in terms]
    return terms, np.array(shares) + 0.01 * rng.normal(size=n)


def fitted(
    grammar: Grammar, terms: list[Term], y: np.ndarray, *, hierarchical: bool, table: TermTable | None = None
) -> gp.Surrogate:
    table = (table or TermTable(grammar)) if hierarchical else TermTable(grammar, ())
    return gp.fit(table, terms, y)


def proposal(grammar: Grammar, terms: list[Term], y: np.ndarray, rng: np.random.Generator, *, hierarchical: bool):
    """The new term of the highest expected improvement that is found in 50 generations."""
    surrogate = fitted(grammar, terms, y, hierarchical=hierarchical)
    scored = acquisition_pool.Scored(
        lambda points: surrogate.log_expected_improvement([p.term for p in points]), {Point(t) for t in terms}
    )
    parents = [Point(terms[i]) for i in np.argsort(y)[:10]]
    acquisition_pool.evolved(
        GrammarSpace(grammar), parents, scored, rng, size=POOL, generations=(GENERATIONS, GENERATIONS)
    )
    return scored.best


def measure(prepare: Callable[[], Callable[[], object]], repeats: int) -> list[float]:
    """CPU seconds of each of `repeats` calls; what `prepare` does beforehand is not counted."""
    seconds = []
    gc.collect()
    for _ in range(repeats + 1):  # the first warms up
        call = prepare()
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return seconds[1:]


def cases(rng: np.random.Generator):
    """(what, space), how often, and a function that prepares one measurement."""
    for space in (HIERARCHICAL, CELL_BASED):
        grammar, h = examples.grammar(space), space == HIERARCHICAL
        kernel = "hWL" if h else "WL"
        parents = [grammar.sample(rng) for _ in range(100)]

        def pick(parents=parents) -> Term:
            return parents[rng.integers(len(parents))]

        def fit(n, hierarchical, grammar=grammar):
            terms, y = observed(grammar, n, rng)
            return lambda: fitted(grammar, terms, y, hierarchical=hierarchical)

        def fit_again(n, grammar=grammar):
            terms, y = observed(grammar, n, rng)
            table = TermTable(grammar)
            table.index(terms)
            return lambda: fitted(grammar, terms, y, hierarchical=True, table=table)

        def ei(n, grammar=grammar, h=h):
            terms, y = observed(grammar, n, rng)
            surrogate = fitted(grammar, terms, y, hierarchical=h)
            surrogate.log_expected_improvement(terms[:1])  # what is factored once is not counted
            candidates = [evolve.mutate(grammar, terms[rng.integers(n)], rng) for _ in range(POOL)]
            return lambda: surrogate.log_expected_improvement(candidates)

        def propose(n, grammar=grammar, h=h):
            terms, y = observed(grammar, n, rng)
            return lambda: proposal(grammar, terms, y, rng, hierarchical=h)

        yield ("sample", space), 200, lambda g=grammar: lambda: g.sample(rng)
        yield ("mutate", space), 200, lambda g=grammar, p=pick: lambda: evolve.mutate(g, p(), rng)
        yield ("crossover", space), 200, lambda g=grammar, p=pick: lambda: evolve.crossover(g, p(), p(), rng)
        yield ("self-crossover", space), 200, lambda g=grammar, p=pick: lambda: evolve.crossover(g, *[p()] * 2, rng)
        for n in (10, 25, 50, 100, 300, 1000):
            yield (f"fit {kernel}, N = {n}", space), 5 if n <= 100 else 2, lambda n=n, f=fit, h=h: f(n, h)
        if h:
            yield ("fit WL, N = 100", space), 5, lambda f=fit: f(100, False)
            yield ("fit hWL of counted terms, N = 100", space), 5, lambda f=fit_again: f(100)
        for n in (10, 50, 100, 300, 1000):
            yield (f"EI of 200, N = {n}", space), 5 if n <= 100 else 2, lambda n=n, e=ei: e(n)
        for n in (10, 30, 100, 300, 1000):
            yield (f"proposal, N = {n}", space), 3 if n <= 100 else 1, lambda n=n, p=propose: p(n)


def shown(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.1f} s"


def draw(points: pd.DataFrame) -> None:
    """Cost against the number of observations, ours and, where it was measured, the original's."""
    points = points.assign(by="ours")
    measured = [(what.rpartition(", N = "), space, seconds) for (what, space), seconds in ORIGINAL.items()]
    theirs = [
        {"what": size[0], "space": space, "observations": int(size[2]), "CPU seconds": seconds, "by": "original"}
        for size, space, seconds in measured
        if size[0]
    ]
    every = pd.concat([points, pd.DataFrame(theirs)])
    panels.style()
    grid = sns.relplot(
        every, x="observations", y="CPU seconds", hue="what", style="by", col="space", kind="line", markers=True,
        height=3.6, aspect=1.15, palette=list(panels.COLOURS[: every.what.nunique()]), estimator=None,
    )  # fmt: skip
    grid.set(xscale="log", yscale="log")
    grid.set_titles("{col_name}")
    grid.savefig(FIGURE, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few repeats, N at most 100; writes no table")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    lines = ["| what | space | median | smallest | original | original / median |", "|---|---|---|---|---|---|"]
    verdicts, points = [], []
    start = time.perf_counter()
    for (what, space), repeats, prepare in cases(np.random.default_rng(0)):
        if quick and what.endswith(("300", "1000")):
            continue
        seconds = measure(prepare, max(1, repeats // 5) if quick else repeats)
        median, smallest = statistics.median(seconds), min(seconds)
        original = ORIGINAL.get((what, space))
        compared = f"{shown(original)} | {original / median:,.0f}" if original else "– | –"
        lines.append(f"| {what} | {space} | {shown(median)} | {shown(smallest)} | {compared} |")
        print(lines[-1], flush=True)
        if (size := what.rpartition(", N = "))[0]:
            points.append({"what": size[0], "space": space, "observations": int(size[2]), "CPU seconds": median})
        if (what, space) in REQUIRED:
            limit = REQUIRED[what, space]
            word = "met" if median <= limit else "not met"
            verdicts.append(f"- {what}, {space}: at most {shown(limit)} wanted, {shown(median)}: {word}")
    minutes = (time.perf_counter() - start) / 60
    print("\n".join(verdicts))
    if quick:
        return
    table = f"""# Speed of grammars and their surrogates

Written by `python -m benchmarks.grammar` in {minutes:.1f} minutes: torch {torch.__version__.split("+")[0]},
one thread on a {os.cpu_count()}-core {platform.machine()} CPU; CPU seconds of the process.

A fit includes the graphs and label counts of its terms and the choice of h; that of counted terms is without the
former, as in a search, whose observations were counted when they were candidates. EI is of {POOL} mutants of the
observed terms, their graphs and label counts included. A proposal is a fit to 100 observations and {GENERATIONS}
generations of {POOL} offspring with their EI; the original's, estimated from its parts, takes 15 to 75 minutes in the
hierarchical space, of which the smaller is set against ours. The original's figures are CPU seconds on one thread of
another machine.

{chr(10).join(lines)}

{chr(10).join(verdicts)}

![Cost against the number of observations](grammar.png)
"""
    TABLE.write_text(table, encoding="utf-8")
    draw(pd.DataFrame(points))


if __name__ == "__main__":
    main()
