"""Kill run_all.sh with everything it started at random moments, run it again, and compare what it ends with.

    python -m benchmarks.kills --work FOLDER [--kills 10] [--seed 0] [--workers 1 2]

In smoke, notebook by notebook, with one worker and with two, each start with another number of threads than the one
before. A kill's moment is drawn evenly over the time that the notebook takes undisturbed; each notebook is killed once,
and those drawn by their length once more. Where a run was over by then, the notebook is begun anew. After its kills the
same command runs to its end. Held against an undisturbed run:

- no finished trial is lost or run again: what a log held when its run was killed is what the finished log begins with;
- the tables are the same, but for columns of times; with two workers decisions rest on which trial ended first, which
  no run repeats, so that there tables may differ;
- each logged decision is made once more from what was logged before it (`jahslib.replay`), as an undisturbed run would
  have made it.

FOLDER keeps what is finished, which is not done again.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from jahslib import studies
from jahslib.paths import ROOT, write
from jahslib.replay import replay

TABLE = Path(__file__).with_suffix(".md")
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
TIMES = re.compile(r"seconds|minutes|^time$")  # columns that no run repeats
TIMES_ONLY = {"costs.csv"}  # tables of nothing else


@dataclass
class Kill:
    notebook: str
    workers: int
    threads: int
    after: float  # seconds
    processes: int
    finished: int  # trials that the notebook's logs held


def start(notebook: str, workers: int, folder: Path, threads: int | None = None) -> subprocess.Popen:
    """Begin the notebook in a session of its own; what it writes goes below `folder`."""
    env = os.environ | {"JAHSLIB_RESULTS": str(folder)}
    if threads:
        env["OMP_NUM_THREADS"] = str(threads)
    command = [ROOT / "run_all.sh", "--python", sys.executable, "--only", notebook, "--workers", str(workers)]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.txt").open("ab") as sink:
        return subprocess.Popen(command, env=env, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)


def kill(run: subprocess.Popen) -> int:
    """End a run and all its descendants as `kill -9` does; returns how many processes there were."""
    root = psutil.Process(run.pid)
    tree = [root, *root.children(recursive=True)]
    for process in tree:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    run.wait()
    psutil.wait_procs(tree[1:], timeout=10)
    return len(tree)


def logs(results: Path) -> dict[str, bytes]:
    """Whole lines of all trial logs with trials, by path below `results`."""
    found = {str(path.relative_to(results)): path.read_bytes() for path in sorted(results.rglob("*.jsonl"))}
    whole = {path: content[: content.rfind(b"\n") + 1] for path, content in found.items()}
    return {path: content for path, content in whole.items() if trials(content)}


def trials(content: bytes) -> int:
    return len(ids(content))


def ids(content: bytes) -> list[int]:
    return [json.loads(line)["id"] for line in content.splitlines() if line.startswith(b'{"kind": "trial"')]


def undisturbed(work: Path) -> tuple[Path, dict[str, float]]:
    """The folder of a run with one worker and without kills, and its seconds a notebook."""
    folder = work / "undisturbed"
    seconds = json.loads((folder / "seconds.json").read_text()) if (folder / "seconds.json").exists() else {}
    for notebook in NOTEBOOKS:
        if notebook not in seconds:
            since = time.monotonic()
            if code := start(notebook, 1, folder).wait():
                raise SystemExit(f"{notebook} failed undisturbed (exit code {code}); see {folder}/output.txt")
            seconds[notebook] = time.monotonic() - since
            write(folder / "seconds.json", json.dumps(seconds))
    return folder, seconds


def disturbed(
    notebook: str, workers: int, folder: Path, seconds: float, kills: int, rng: np.random.Generator
) -> tuple[list[Kill], list[str]]:
    """Run a notebook with kills; returns these and what was lost or repeated."""
    done: list[Kill] = []
    held: list[dict[str, bytes]] = []
    results = folder / "results" / "smoke" / notebook
    while len(done) < kills:
        threads, after, since = 1 + len(done) % 2, rng.uniform(0, seconds), time.monotonic()
        run = start(notebook, workers, folder, threads)
        try:
            run.wait(after)  # too late for a kill
            seconds = time.monotonic() - since
            held.clear()
            shutil.rmtree(results)
        except subprocess.TimeoutExpired:
            processes = kill(run)
            held.append(logs(results))
            finished = sum(map(trials, held[-1].values()))
            done.append(Kill(notebook, workers, threads, after, processes, finished))
            print(done[-1], flush=True)
    if code := start(notebook, workers, folder, 1 + len(done) % 2).wait():
        return done, [f"{notebook} failed after kills (exit code {code})"]
    end = logs(results)
    lost = {path for before in held for path in before if not end.get(path, b"").startswith(before[path])}
    twice = {path for path, content in end.items() if len(set(ids(content))) < len(ids(content))}
    wrong = [f"{notebook}/{path}: begins otherwise than when its run was killed" for path in sorted(lost)]
    return done, wrong + [f"{notebook}/{path}: a trial twice" for path in sorted(twice)]


def differing(one: Path, other: Path) -> tuple[int, list[str]]:
    """How many tables two runs have, and those that differ in more than times."""
    found = [{p.relative_to(f): p for p in (f / "results").rglob("*.csv")} for f in (one, other)]
    names = sorted({name for tables in found for name in tables if name.name not in TIMES_ONLY})
    differing = [str(n) for n in names if not all(n in t for t in found) or not _same(*(t[n] for t in found))]
    return len(names), differing


def _same(one: Path, other: Path) -> bool:
    a, b = (pd.read_csv(path, dtype=str) for path in (one, other))
    a, b = (table.drop(columns=[c for c in table if TIMES.search(c)]) for table in (a, b))
    return a.equals(b)


def decided_otherwise(folder: Path) -> tuple[int, list[str]]:
    """How many searches' decisions were made once more, and those that an undisturbed run would have made otherwise."""
    os.environ["JAHSLIB_RESULTS"] = str(folder)
    searches = [run for notebook in NOTEBOOKS for run in studies.searches(notebook, {"profile": "smoke"})]
    reports = {run.log.relative_to(folder): replay(run.optimizer, run.log) for run in searches if run.log.exists()}
    return len(reports), [f"{path}: {report}" for path, report in reports.items() if report.trial is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="with each number of workers; at least one a notebook")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    reference, seconds = undisturbed(args.work)
    lengths = np.array([seconds[notebook] for notebook in NOTEBOOKS])
    for workers in args.workers:
        file = args.work / f"killed-{workers}.json"
        if file.exists():
            continue
        folder = args.work / f"killed-{workers}"
        rng = np.random.default_rng([args.seed, workers])
        more = rng.choice(NOTEBOOKS, max(args.kills - len(NOTEBOOKS), 0), p=lengths / lengths.sum())
        done, wrong = [], []
        for notebook in NOTEBOOKS:
            kills = 1 + int((more == notebook).sum())
            parts = disturbed(notebook, workers, folder, seconds[notebook], kills, rng)
            done, wrong = done + parts[0], wrong + parts[1]
        tables, other = differing(reference, folder)
        again, otherwise = decided_otherwise(folder)
        wrong += otherwise
        told = (
            f"- {workers} worker{'s' * (workers > 1)}: {len(done)} kills, "
            f"{sum(map(trials, logs(folder / 'results').values())):,} trials, "
            f"decisions of {again} searches made once more; "
            f"lost, repeated or decided otherwise: {'; '.join(wrong) or 'none'}; "
            f"of {tables} tables differing from those of the undisturbed run with one worker: "
            f"{', '.join(other) or 'none'}."
        )
        write(file, json.dumps({"told": told, "kills": [vars(kill) for kill in done]}))
        found = [json.loads(path.read_text()) for path in sorted(args.work.glob("killed-*.json"))]
        write(TABLE, page([Kill(**k) for chain in found for k in chain["kills"]], [chain["told"] for chain in found]))


def page(rows: list[Kill], outcome: list[str]) -> str:
    head = ("notebook", "workers", "threads", "killed after, s", "processes", "trials logged by then")
    lines = [[k.notebook, k.workers, k.threads, f"{k.after:.0f}", k.processes, k.finished] for k in rows]
    table = [head, ["---"] * len(head), *lines]
    return "\n".join(
        [
            "# Runs killed at random moments",
            "",
            "Written by `python -m benchmarks.kills`, which says what was done and what is compared.",
            "",
            *outcome,
            "",
            *("| " + " | ".join(map(str, line)) + " |" for line in table),
            "",
        ]
    )


if __name__ == "__main__":
    main()
