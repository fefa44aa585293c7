"""How busy a Dask cluster's workers are kept by a search, beside Dask alone mapping the same sleeps.

    python -m benchmarks.cluster                 # 16 and 64 workers on this machine, about a quarter of an hour
    python -m benchmarks.cluster --workers 4 --trainings 10

A training sleeps .5 to 1.5 s, by a hash of its configuration and fidelity: what is measured is all that stands between
two trainings of a worker, not how many of them the processor could serve. Scheduler and workers are processes of one
thread each, started as README.md says. The page is written unless an option is given.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ConfigSpace import Categorical, ConfigurationSpace, Float, Integer

from jahslib.core.optimizer import Optimizer
from jahslib.core.problem import Fidelity, Job, Objective, Outcome, Problem
from jahslib.core.trials import History, Suggestion, key
from jahslib.optimizers import ASHA, Evolution, Hyperband, RandomSearch
from jahslib.paths import ROOT
from jahslib.search import Budget, search
from jahslib.search.replay import replay
from jahslib.search.workers import pool

TABLE = Path(__file__).with_suffix(".md")
WORKERS, TRAININGS = (16, 64), 20
ALONE, MORE = "Dask alone, `client.map`", "EA-HB, a quarter more pending"
# Idle workers sample their own stack every 10 ms and tick every 20 ms: 64 of them keep two cores busy with that alone,
# which a cluster's nodes do not share.
SETTINGS = {
    "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "error",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "false",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "2s",
}
INTRODUCTION = f"""# How busy a cluster is kept

`python -m benchmarks.cluster` writes this page. On a Dask cluster of one machine each training sleeps .5 to 1.5 s, and
there are {TRAININGS} a worker. `busy` is the share of the workers' time spent in trainings, from the first one's start
to the last one's end; `warm` the same from when each worker has ended its first to the last one's start; `ratio` is
`warm` over that of Dask alone, which is given random search's sleeps all at once. `memory` is a worker's own (USS,
mean). `proposal` is the optimizer's time, `processor` all that the search's process computes for a trial: proposing,
recording, talking to Dask. `replayed`: whether a new optimizer, given the log, decides all of it again. Dask's profiler
is off and it ticks every 2 s.
"""

METHODS: dict[str, Callable[[Problem, int], Optimizer]] = {
    "random search": RandomSearch,
    "EA-HB": partial(Evolution, hyperband=True),
    "Hyperband": Hyperband,
    "ASHA": ASHA,
    MORE: partial(Evolution, hyperband=True),
}


class Sleeping(Problem):
    """Trainings that only sleep, of a formula of three hyperparameters."""

    name = "sleeping"
    space = ConfigurationSpace(
        [Integer("layers", (1, 8)), Float("rate", (1e-5, 1e-1), log=True), Categorical("norm", ["batch", "none"])]
    )
    fidelity = Fidelity(1, 27)
    objective = Objective("error", best=0.0, worst=2.0)

    def evaluate(self, job: Job) -> Outcome:
        time.sleep(nap(job.configuration, job.fidelity))
        c = job.configuration
        error = (np.log10(c["rate"]) + 2.5) ** 2 / 10 + abs(c["layers"] - 5) / 20 + (c["norm"] == "none") / 10
        return Outcome({"error": error + 0.1 / job.fidelity}, self.epochs(job.stages))


def nap(configuration: dict, fidelity: float) -> float:
    """Seconds that a training sleeps."""
    digest = hashlib.sha256(f"{key(configuration)} {fidelity:g}".encode()).digest()
    return 0.5 + int.from_bytes(digest[:4]) / 2**32


class Timed:
    """An optimizer that counts the seconds it takes to propose."""

    def __init__(self, optimizer: Optimizer):
        self._optimizer, self.times = optimizer, []

    def ask(self, history: History) -> Suggestion | None:
        since = time.perf_counter()
        try:
            return self._optimizer.ask(history)
        finally:
            self.times.append(time.perf_counter() - since)

    def describe(self) -> dict[str, Any]:
        return self._optimizer.describe()


@contextmanager
def cluster(workers: int, folder: Path) -> Iterator[str]:
    """The address of a scheduler with that many workers on this machine, once all are there."""
    from distributed import Client

    dask, place = str(Path(sys.executable).with_name("dask")), folder / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | SETTINGS
    address = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(place)]
    started = [subprocess.Popen([dask, "scheduler", *address], env=environment, **quiet)]
    try:
        while not place.exists():
            time.sleep(0.1)
        where = json.loads(place.read_text())["address"]
        number = ["--nworkers", str(workers), "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder)]
        started.append(subprocess.Popen([dask, "worker", where, *number], env=environment, **quiet))
        with Client(where, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=1200)
        yield where
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def alone(address: str, sleeps: list[float]) -> tuple[list[tuple[str, float, float]], float]:
    """Spans (worker, start, end) of Dask's own map over the sleeps, and a worker's MB.

    The function is sent by value, so that the workers import nothing of this project.
    """
    from distributed import Client

    def sleep(seconds: float) -> tuple[str, float, float]:
        import os
        import time

        since = time.time()
        time.sleep(seconds)
        return f"pid {os.getpid()}", since, time.time()

    with Client(address, set_as_default=False) as client:
        return client.gather(client.map(sleep, sleeps, pure=False)), memory(client)


def memory(client: Any) -> float:
    """Mean MB that a worker has to itself."""

    def own() -> int:
        import psutil

        return psutil.Process().memory_full_info().uss

    return float(np.mean(list(client.run(own).values()))) / 1e6


def shares(spans: list[tuple[str, float, float]], workers: int) -> tuple[float, float]:
    """Share of the workers' time that spans fill: of all the time, and once warm."""
    firsts: dict[str, float] = {}
    for worker, _, end in sorted(spans, key=lambda span: span[1]):
        firsts.setdefault(worker, end)
    starts, ends = [s for _, s, _ in spans], [e for *_, e in spans]

    def share(begin: float, end: float) -> float:
        return sum(max(0.0, min(e, end) - max(s, begin)) for _, s, e in spans) / (workers * (end - begin))

    return share(min(starts), max(ends)), share(max(firsts.values()), max(starts))


def searched(address: str, method: str, workers: int, trainings: int, folder: Path) -> dict[str, Any]:
    """A search on the cluster, and its row of the table."""
    from distributed import Client

    problem, log = Sleeping(), folder / f"{method}.jsonl"
    optimizer = Timed(METHODS[method](problem, 0))
    with pool(scheduler=address) as executor:
        executor.submit(nap, {}, 1).result()  # the workers import what they need, as at the start of any search
        computed = time.process_time()
        budget = Budget(trials=workers * trainings)
        pending = workers * 5 // 4 if method == MORE else workers
        history = search(problem, optimizer, budget, log, seed=0, executor=executor, workers=pending)
        computed = time.process_time() - computed
    busy, warm = shares([(t.worker, t.started, t.started + t.seconds) for t in history], workers)
    with Client(address, set_as_default=False) as client:
        used = memory(client)
    return {
        "busy": busy,
        "warm": warm,
        "memory": used,
        "proposal": 1e3 * float(np.mean(optimizer.times)),
        "processor": 1e3 * computed / len(history.trials),
        "replayed": str(replay(METHODS[method](problem, 0), log)),
    }


def measure(workers: int, trainings: int, only: list[str]) -> dict[str, dict[str, Any]]:
    """A row a contender; Dask alone sleeps as random search does, whose proposals depend on nothing but the seed."""
    problem, history = Sleeping(), History()
    optimizer = RandomSearch(problem, 0)
    for _ in range(workers * trainings):
        history.ask(optimizer.ask(history))
    with tempfile.TemporaryDirectory() as root, cluster(workers, Path(root)) as address:
        spans, used = alone(address, [nap(s.configuration, s.fidelity) for s in history.suggestions])
        busy, warm = shares(spans, workers)
        rows: dict[str, dict[str, Any]] = {ALONE: {"busy": busy, "warm": warm, "memory": used}}
        print(ALONE, rows[ALONE], flush=True)
        for method in only or METHODS:
            rows[method] = searched(address, method, workers, trainings, Path(root))
            print(method, rows[method], flush=True)
    return rows


def table(workers: int, rows: dict[str, dict[str, Any]]) -> str:
    """The measurement as Markdown."""
    lines = [
        f"## {workers} workers\n",
        "| | busy | warm | ratio | memory, MB | proposal, ms | processor, ms a trial | replayed |",
        "|---|" + "--:|" * 6 + "---|",
    ]
    for name, row in rows.items():
        cells = [f"{row['busy']:.3f}", f"{row['warm']:.3f}", f"{row['warm'] / rows[ALONE]['warm']:.3f}"]
        cells += [f"{row['memory']:.0f}", *(f"{row[c]:.1f}" if c in row else "" for c in ("proposal", "processor"))]
        lines.append(f"| {name} | {' | '.join(cells)} | {row.get('replayed', '')} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="*", default=list(WORKERS))
    parser.add_argument("--trainings", type=int, default=TRAININGS, help="per worker")
    parser.add_argument("--only", nargs="*", default=[], choices=list(METHODS))
    options = parser.parse_args()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.0f} before"
    made = f"Measured on {machine}, Python {platform.python_version()}, distributed {version('distributed')}."
    tables = []
    for workers in options.workers:
        tables.append(table(workers, measure(workers, options.trainings, options.only)))
        print(tables[-1], flush=True)
        if len(sys.argv) == 1:
            TABLE.write_text("\n\n".join([INTRODUCTION.strip(), *tables, made]) + "\n")


if __name__ == "__main__":
    from benchmarks import cluster as importable  # by this name the workers can import the problem

    importable.main()
