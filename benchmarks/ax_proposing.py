"""What a proposal of Ax costs, and what it is worth: Ax's own defaults beside ours, on LCBench's seven hyperparameters.

    python -m benchmarks.ax_proposing [--results FILE] [--quick]

LCBench's surrogate (YAHPO Gym's, on tuning tasks only) is trained in no time, so nothing is measured but proposing.
Times are CPU seconds of this process on one thread. The two methods take turns, search by search, so that whatever else
the machine does hits both. Finished searches are appended to FILE and not repeated. Regret is that of the best of 40
trials at 52 epochs, from 0 (the best of 2,000 random points) to 1 (the worst of them); it may be negative.
"""

import argparse
import cProfile
import json
import os
import platform
import pstats
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t as student

from jahslib.core.problem import Job, Problem
from jahslib.core.trials import History, Trial
from jahslib.optimizers.ax.optimizer import AxBO
from jahslib.problems.benchmarks import TUNING
from jahslib.problems.lcbench import LCBench
from jahslib.spaces import configurations as spaces

TABLE = Path(__file__).with_suffix(".md")
TRIALS, SEEDS, WANTED, RANDOM = 40, 10, 0.4, 2000

METHODS: dict[str, Callable[[Problem, int], AxBO]] = {
    "Ax's own defaults": lambda problem, seed: AxBO(problem, seed, unbounded=True),
    "ours": lambda problem, seed: AxBO(problem, seed),
}

# Functions whose cumulative time is that of a step.
PARTS = {
    "fitting the Gaussian process": ("surrogate.py", "fit"),
    "choosing where to start on the acquisition function": ("optimize_mixed.py", "generate_starting_points"),
    "alternating between discrete and continuous steps": (
        "optimize_mixed.py",
        ("discrete_step", "continuous_step"),
    ),
}


@cache
def random_points(task: str) -> tuple[float, float]:
    """The worst and the best of 2,000 random configurations."""
    problem, rng = LCBench(task), np.random.default_rng(0)
    drawn = [spaces.sample(problem.space, rng) for _ in range(RANDOM)]
    values = problem.measure(drawn, problem.fidelity.high)["val_accuracy"]
    return float(values.min()), float(values.max())


@dataclass(frozen=True)
class Result:
    """One search: CPU seconds of every proposal, and the regret after the last."""

    method: str
    task: str
    seed: int
    seconds: list[float]
    regret: float


def search(method: str, task: str, seed: int, trials: int = TRIALS) -> Result:
    problem, history, seconds = LCBench(task), History(), []
    optimizer = METHODS[method](problem, seed)
    for id in range(trials):
        start = time.process_time()
        suggestion = optimizer.ask(history)
        seconds.append(time.process_time() - start)
        assert suggestion is not None
        history.ask(suggestion)
        outcome = problem.evaluate(Job(suggestion.configuration, (suggestion.fidelity,), 0))
        history.finish(Trial(**vars(suggestion), id=id, metrics=outcome.metrics, epochs=52, asked=id + 1))
    worst, best = random_points(task)
    found = max(t.metrics["val_accuracy"] for t in history)
    return Result(method, task, seed, seconds, (best - found) / (best - worst))


def profile(method: str) -> dict[str, float]:
    """Share of each part of `PARTS` in the time of proposing."""
    recorder = cProfile.Profile()
    recorder.enable()
    search(method, TUNING[0], 0, trials=15)
    recorder.disable()
    rows = pstats.Stats(recorder).stats  # type: ignore[attr-defined]
    cumulative = {(os.path.basename(file), name): row[3] for (file, _, name), row in rows.items()}
    total = max(row[3] for (file, _, name), row in rows.items() if name == "ask")
    names = {part: (where[1],) if isinstance(where[1], str) else where[1] for part, where in PARTS.items()}
    return {part: sum(cumulative.get((PARTS[part][0], name), 0.0) for name in names[part]) / total for part in names}


def mean_with_interval(values: list[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval by Student's t."""
    half = student.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return statistics.mean(values), float(half)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, help="JSON lines of finished searches, read and extended")
    parser.add_argument("--quick", action="store_true", help="one seed of 12 trials; writes no table")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if options.quick:
        for method in METHODS:
            print(method, search(method, TUNING[0], 0, trials=12))
        return
    lines = options.results.read_text().splitlines() if options.results and options.results.exists() else []
    done = {(r.method, r.task, r.seed): r for r in (Result(**json.loads(line)) for line in lines)}
    if len(done) < SEEDS * len(METHODS):
        search("ours", TUNING[0], 99, 7)  # imports
    for seed in range(SEEDS):
        for method in METHODS:
            wanted = (method, TUNING[seed], seed)  # seed s on task s
            if wanted not in done:
                done[wanted] = result = search(*wanted)
                print(*wanted, f"{statistics.mean(result.seconds):.3f} s, regret {result.regret:.4f}", flush=True)
                if options.results:
                    with options.results.open("a") as file:
                        file.write(json.dumps(vars(result)) + "\n")
    own, ours = ([r for r in done.values() if r.method == method] for method in METHODS)
    TABLE.write_text(report(own, ours, {method: profile(method) for method in METHODS}), encoding="utf-8")


def report(own: list[Result], ours: list[Result], shares: dict[str, dict[str, float]]) -> str:
    rows, means = [], []
    for name, results in zip(METHODS, (own, ours), strict=True):
        seconds = [s for r in results for s in r.seconds]
        means.append(statistics.mean(seconds))
        regret = statistics.mean(r.regret for r in results)
        rows.append(
            f"| {name} | {means[-1]:.2f} | {statistics.median(seconds):.2f} | {max(seconds):.2f} | {regret:.4f} |"
        )
    pairs = {(r.task, r.seed): r.regret for r in own}
    difference, half = mean_with_interval([r.regret - pairs[r.task, r.seed] for r in ours])
    ratio = means[1] / means[0]
    parts = [f"| {part} | {' | '.join(f'{shares[m][part]:.0%}' for m in METHODS)} |" for part in PARTS]
    met = "met" if ratio <= WANTED else "not met"
    not_worse = "the interval includes 0" if abs(difference) <= half else "it does not include 0"
    largest = max(ours, key=lambda r: abs(r.regret - pairs[r.task, r.seed]))
    theirs = pairs[largest.task, largest.seed]
    without, rest = mean_with_interval([r.regret - pairs[r.task, r.seed] for r in ours if r != largest])
    return f"""# CPU seconds a proposal

Written by `python -m benchmarks.ax_proposing`: torch {torch.__version__.split("+")[0]}, one thread on a
{os.cpu_count()}-core {platform.machine()} CPU. LCBench's seven hyperparameters (three integers, two of them on a log
scale), {TRIALS} trials at 52 epochs, {len(ours)} seeds, each on a tuning task of its own; all proposals count, Ax's
five initial ones too.

| optimizer | mean | median | longest | regret, mean |
|---|---|---|---|---|
{chr(10).join(rows)}

| share of the time | {" | ".join(METHODS)} |
|---|---|---|
{chr(10).join(parts)}

At most {WANTED:.0%} of the time of Ax's own defaults wanted, {ratio:.0%} taken: {met}. Regret, ours less Ax's own,
paired by task and seed: {difference:+.4f} ± {half:.4f} (95 %): {not_worse}. Without the pair that differs most,
task {largest.task} ({largest.regret:.4f} and {theirs:.4f}), it is {without:+.4f} ± {rest:.4f}.

With more than one thread sums depend on chance, so Ax is always called on one thread
(`jahslib.optimizers.ax.optimizer.quiet_and_seeded`).
"""


if __name__ == "__main__":
    main()
