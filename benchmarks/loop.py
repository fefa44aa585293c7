"""Milliseconds that the search loop takes a trial, beside Optuna's random sampler with its file journal.

    python -m benchmarks.loop            # 10,000 trials each, some minutes
    python -m benchmarks.loop --trials 2000 --only "random search" Optuna

Nothing is trained: the objective is a formula of five hyperparameters, one of them conditional. What is timed is all
that stands between two evaluations: to propose, to record, and to force the trial to disk, which both do each time. All
run in turns of 250 trials, so that what else the machine does falls on all of them alike. Times are wall seconds.
"""

import argparse
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace, InCondition

from jahslib.core.problem import Fidelity, Job, Objective, Outcome, Problem
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.random_search import RandomSearch
from jahslib.optimizers.regularized_evolution import RegularizedEvolution
from jahslib.optimizers.sobol import Sobol
from jahslib.search import Budget, search

TABLE = Path(__file__).with_suffix(".md")
TURN = 250
MARKS = (500, 1_000, 2_000, 4_000, 10_000)
OPTUNA = "Optuna, random sampler, file journal"
INTRODUCTION = """# What the search loop costs

`python -m benchmarks.loop` writes this page: milliseconds a trial (median of the 250 trials up to each mark, wall time)
of proposing, recording and forcing to disk, nothing being trained; seconds to reopen a search of 10,000 trials and add
one. `ratio` is to Optuna's random sampler with its file journal in the same run; both sync each trial.
"""


def space() -> ConfigurationSpace:
    """Five hyperparameters, one of them active for some values of another."""
    from ConfigSpace import Categorical, Float, Integer

    made = ConfigurationSpace()
    layers, width = Integer("layers", (1, 3)), Integer("width", (16, 1024), log=True)
    made.add(layers, width, Float("rate", (1e-5, 1e-1), log=True), Float("dropout", (0.0, 0.5)))
    made.add(Categorical("norm", ["batch", "layer", "none"]), InCondition(width, layers, [2, 3]))
    return made


def error(c: dict) -> float:
    """A formula with an optimum inside the space."""
    return (np.log10(c["rate"]) + 2.5) ** 2 / 10 + abs(c["dropout"] - 0.2) + (c["norm"] == "none") / 10


class Formula(Problem):
    """The formula as a problem of 1 to 9 epochs."""

    name = "formula"
    space = space()
    fidelity = Fidelity(1, 9)
    objective = Objective("error", best=0.0, worst=2.0)

    def evaluate(self, job: Job) -> Outcome:
        return Outcome({"error": error(job.configuration) + 0.1 / job.fidelity}, self.epochs(job.stages))


OURS: dict[str, Callable] = {
    "random search": lambda problem: RandomSearch(problem, 0),
    "Sobol": lambda problem: Sobol(problem, 0),
    "EA": lambda problem: Evolution(problem, 0),
    "EA-HB": lambda problem: Evolution(problem, 0, hyperband=True),
    "regularized evolution": lambda problem: RegularizedEvolution(problem, 0),
}


class Contender(threading.Thread):
    """A search in a thread of its own that runs only when it has the turn; `times` are seconds a trial."""

    def __init__(self, name: str, body: Callable[[Path, int, Callable[[], None]], None], folder: Path, trials: int):
        super().__init__(name=name, daemon=True)
        self.body, self.folder, self.trials = body, folder, trials
        self.turn, self.back = threading.Event(), threading.Event()
        self.times: list[float] = []

    def run(self) -> None:
        self._wait()
        try:
            self.body(self.folder, self.trials, self._tick)
        finally:
            self.back.set()

    def _wait(self) -> None:
        self.turn.wait()
        self.turn.clear()
        self._last = time.perf_counter()

    def _tick(self) -> None:
        self.times.append(time.perf_counter() - self._last)
        self._last = time.perf_counter()
        if len(self.times) % TURN == 0:
            self.back.set()
            self._wait()

    def go_on(self) -> None:
        """Let it have a turn, and wait for its end."""
        self.turn.set()
        self.back.wait()
        self.back.clear()


def ours(make: Callable[[Problem], Any], folder: Path, trials: int, tick: Callable[[], None]) -> None:
    """A search of jahslib's, or its continuation by the trials that are missing."""
    problem = Formula()
    search(problem, make(problem), Budget(trials=trials), folder / "log.jsonl", seed=0, on_trial=lambda *_: tick())


def optunas(folder: Path, trials: int, tick: Callable[[], None]) -> None:
    """The same with Optuna: define by run, random sampler, file journal."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial: optuna.Trial) -> float:
        c: dict[str, Any] = {"layers": trial.suggest_int("layers", 1, 3)}
        if c["layers"] > 1:
            c["width"] = trial.suggest_int("width", 16, 1024, log=True)
        c["rate"] = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
        c["dropout"] = trial.suggest_float("dropout", 0.0, 0.5)
        c["norm"] = trial.suggest_categorical("norm", ["batch", "layer", "none"])
        return error(c) + 0.1 / 9

    storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(storage=storage, study_name="loop", sampler=sampler, load_if_exists=True)
    study.optimize(objective, n_trials=trials - len(study.trials), callbacks=[lambda *_: tick()])


def reopened(body: Callable, folder: Path, trials: int) -> float:
    """Seconds from a closed search of that many trials to the next trial being safe on disk."""
    since = time.perf_counter()
    body(folder, trials + 1, lambda: None)
    return time.perf_counter() - since


def measure(trials: int, only: list[str]) -> pd.DataFrame:
    """A row a contender: ms a trial around each mark, and seconds to reopen."""
    bodies = {OPTUNA: optunas} | {name: partial(ours, make) for name, make in OURS.items()}
    bodies = {name: body for name, body in bodies.items() if not only or name in only}
    with tempfile.TemporaryDirectory() as root:
        contenders = [Contender(n, b, Path(root) / str(i), trials) for i, (n, b) in enumerate(bodies.items())]
        for contender in contenders:
            contender.folder.mkdir()
            contender.start()
        while any(c.is_alive() for c in contenders):
            for contender in contenders:
                if contender.is_alive():
                    contender.go_on()
            print(f"{len(contenders[0].times)} trials", flush=True)
        rows = {}
        for contender in contenders:
            at = {m: 1e3 * float(np.median(contender.times[m - TURN : m])) for m in MARKS if m <= trials}
            rows[contender.name] = {**at, "reopen, s": reopened(contender.body, contender.folder, trials)}
    return pd.DataFrame(rows).T


def table(rows: pd.DataFrame) -> str:
    """The measurement as Markdown, each figure beside its ratio to Optuna's."""
    base, marks = rows.loc[OPTUNA], [c for c in rows if c != "reopen, s"]
    last, early = marks[-1], 1_000 if 1_000 in marks else marks[0]
    lines = [
        f"| | {' | '.join(f'{m:,}' for m in marks)} | {last:,} / {early:,} | ratio at {last:,} | reopen, s | ratio |",
        "|---|" + "--:|" * (len(marks) + 4),
    ]
    for name, row in rows.iterrows():
        cells = [f"{row[m]:.2f}" for m in marks]
        cells += [f"{row[last] / row[early]:.2f}", f"{row[last] / base[last]:.2f}"]
        cells += [f"{row['reopen, s']:.1f}", f"{row['reopen, s'] / base['reopen, s']:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=MARKS[-1])
    parser.add_argument("--only", nargs="*", default=[], help="names of contenders; the table is then not written")
    options = parser.parse_args()
    rows = measure(options.trials, options.only)
    if options.only:
        print(rows.round(2).to_string())
        return
    text = table(rows)
    print(text)
    if options.trials == MARKS[-1]:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        TABLE.write_text(f"{INTRODUCTION}\n{text}\n\nMeasured on {machine}, Optuna {version('optuna')}.\n")


if __name__ == "__main__":
    main()
