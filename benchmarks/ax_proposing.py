"""Seconds that an optimizer takes to propose a trial: three hyperparameters, 25 trials.

    python -m benchmarks.ax_proposing

The objective is a formula with noise in the shape that learning rate and momentum give to validation accuracy,
diverging trials included, so that nothing is measured but proposing. Times are CPU seconds of this process on one
thread, which are the seconds that pass where nothing else runs; on all cores they are those that pass. The first
proposal of a search is left out.
"""

import argparse
import cProfile
import math
import os
import platform
import pstats
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from jahslib.optimizer import Optimizer
from jahslib.optimizers.ax_bo import FAST, AxBO
from jahslib.optimizers.smac_bohb import SmacBohb
from jahslib.problem import Fidelity, Job, Objective, Outcome, Problem
from jahslib.problems.tuned_network import space
from jahslib.trials import History, Trial

TABLE = Path(__file__).with_suffix(".md")
TRIALS, SEEDS, WANTED = 25, 5, 1.0

# Settings tried, from Ax's own on; the last is the study's.
SETTINGS: dict[str, dict] = {
    "Ax's own: 20 restarts, 1,024 raw samples by 32": {},
    "raw samples at once": {"options": {"init_batch_limit": 1024}},
    "4 restarts": {"num_restarts": 4, "options": {"init_batch_limit": 1024}},
    "4 restarts, 512 raw samples (`FAST`)": FAST,
}

# Functions whose cumulative time is that of a step.
PARTS = {
    "fitting the Gaussian process": ("surrogate.py", "fit"),
    "raw samples of the acquisition function": ("initializers.py", "gen_batch_initial_conditions"),
    "restarts of its optimizer": ("gen.py", "gen_candidates_scipy"),
}


class Formula(Problem):
    """Accuracy as a function of lr / (1 - momentum), highest near 0.2, with noise; above 5 training diverges."""

    name = "formula"
    objective = Objective("top1")
    fidelity = Fidelity(1, 1)

    def __init__(self):
        self.space = space()

    def evaluate(self, job: Job) -> Outcome:
        c = job.configuration
        x = math.log10(c["lr"] / (1 - c["momentum"]))
        noise = np.random.default_rng(job.seed).normal(0, 0.004)
        accuracy = 0.9 - 0.08 * (x + 0.7) ** 2 - 100 * c["weight_decay"] + noise
        return Outcome({"top1": max(0.1, accuracy) if x < 0.7 else 0.1}, 1)


def search(
    make: Callable[[Problem, int], Optimizer],
    seed: int,
    trials: int = TRIALS,
    clock: Callable[[], float] = time.process_time,
) -> tuple[list[float], float]:
    """Seconds of every proposal by `clock`, and the best accuracy found."""
    problem, history, seconds = Formula(), History(), []
    optimizer = make(problem, seed)
    for id in range(trials):
        start = clock()
        suggestion = optimizer.ask(history)
        seconds.append(clock() - start)
        assert suggestion is not None
        history.ask(suggestion)
        outcome = problem.evaluate(Job(suggestion.configuration, (1,), 1000 * seed + id))
        history.finish(Trial(**vars(suggestion), id=id, metrics=outcome.metrics, epochs=1, asked=id + 1))
    return seconds, max(t.metrics["top1"] for t in history)


def on_all_cores(make: Callable[[Problem, int], Optimizer], seed: int) -> tuple[list[float], float]:
    """As `search`, without the limit to one thread that `AxBO` sets."""
    torch.set_num_threads(os.cpu_count() or 1)
    try:
        with mock.patch("jahslib.optimizers.ax_bo.torch.set_num_threads"):
            return search(make, seed, clock=time.perf_counter)
    finally:
        torch.set_num_threads(1)


def profile(make: Callable[[Problem, int], Optimizer]) -> dict[str, float]:
    """Share of each part of `PARTS` in the time of proposing."""
    recorder = cProfile.Profile()
    recorder.enable()
    search(make, 0)
    recorder.disable()
    rows = pstats.Stats(recorder).stats  # type: ignore[attr-defined]
    cumulative = {(os.path.basename(file), name): row[3] for (file, _, name), row in rows.items()}
    total = max(row[3] for (file, _, name), row in rows.items() if name == "search")
    return {part: cumulative.get(where, 0.0) / total for part, where in PARTS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed; writes no table")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    methods: dict[str, Callable[[Problem, int], Optimizer]] = {
        name: lambda p, seed, options=options: AxBO(p, seed, acquisition=options) for name, options in SETTINGS.items()
    }
    methods["SMAC, refitted after every trial"] = lambda p, seed: SmacBohb(p, seed, n_init=5, retrain_after=1)
    methods["SMAC, refitted after 8 trials (its default)"] = lambda p, seed: SmacBohb(p, seed, n_init=5)
    first = next(iter(methods))
    rows, means = [], {}
    for name, make in [*methods.items(), (f"{first}, on {os.cpu_count()} cores", None)]:
        if make is not None:
            search(make, 99, 10)  # imports
        seeds = range(1 if quick else SEEDS)
        runs = [search(make, seed) if make else on_all_cores(methods[first], seed) for seed in seeds]
        seconds = [s for run, _ in runs for s in run[1:]]
        means[name] = statistics.mean(seconds)
        best = statistics.mean(b for _, b in runs)
        rows.append(
            f"| {name} | {means[name]:.2f} | {statistics.median(seconds):.2f} | {max(seconds):.2f} | {best:.4f} |"
        )
        print(rows[-1], flush=True)
    shares = [f"| {part} | {share:.0%} |" for part, share in profile(methods[first]).items()]
    print("\n".join(shares))
    reached = means[list(SETTINGS)[-1]]
    word = "met" if reached <= WANTED else "not met"
    verdict = f"At most {WANTED:g} s a proposal wanted on average, {reached:.2f} s with the study's settings: {word}."
    print(verdict)
    if not quick:
        TABLE.write_text(
            f"""# Seconds a proposal

Written by `python -m benchmarks.ax_proposing`: torch {torch.__version__.split("+")[0]}, one thread on a
{os.cpu_count()}-core {platform.machine()} CPU. {TRIALS} trials over learning rate, momentum and weight decay of a
formula with noise, {SEEDS} seeds; CPU seconds of every proposal but the first.

| optimizer | mean | median | longest | best found, mean |
|---|---|---|---|---|
{chr(10).join(rows)}

Where the time of the first row goes (the rest is Ax's own bookkeeping):

| part | share |
|---|---|
{chr(10).join(shares)}

{verdict}

With more than one thread sums depend on chance, so Ax is always called on one thread
(`jahslib.optimizers.ax_bo.quiet_and_seeded`).
""",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
