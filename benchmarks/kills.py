"""Kill run_all.sh with everything it started at random moments, run it again, and compare what it ends with.

    python -m benchmarks.kills --work FOLDER [--kills 10] [--seed 0] [--workers 1 2] [--notebooks 06_ax_bo ...]

In smoke, notebook by notebook, with one worker and with two, each start with another number of threads than the one
before. A kill comes when a number of trials is logged that is drawn evenly from those not logged yet, and up to ten
seconds later. Each notebook is killed once, and those drawn by their trials once more; one that was over by then is
begun anew. After its kills the same command runs to its end. Held against an undisturbed run:

- no finished trial is lost or run again: what a log held when its run was killed is what the finished log begins with;
- the tables are the same, but for columns of times; with two workers decisions rest on which trial ended first, which
  no run repeats, so that there tables may differ;
- each logged decision is made once more from what was logged before it (`jahslib.search.replay`), as an undisturbed
  run would have made it.

FOLDER keeps the notebooks that are finished, which are not done again; so calls may share the work.
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

from jahslib.experiments.notebook import experiment
from jahslib.paths import ROOT, write
from jahslib.search import logfiles
from jahslib.search.replay import replay

TABLE = Path(__file__).with_suffix(".md")
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
TIMES = re.compile(r"seconds|minutes|^time$")  # columns that no run repeats
TIMES_ONLY = {"costs.csv", "proposals.csv"}  # tables of nothing else


@dataclass
class Kill:
    notebook: str
    workers: int
    threads: int
    seconds: float  # since the start
    processes: int
    finished: int  # trials that the notebook's logs held
    total: int  # trials of the undisturbed run


@dataclass
class Outcome:
    """Of one notebook with one number of workers, after its kills."""

    workers: int
    trials: int
    replayed: int  # searches
    tables: int
    differing: list[str]
    wrong: list[str]  # lost, repeated or decided otherwise


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


def count(results: Path) -> int:
    return sum(map(trials, logs(results).values()))


def undisturbed(work: Path, notebooks: list[str]) -> tuple[Path, dict[str, int]]:
    """The folder of a run with one worker and without kills, and its trials a notebook."""
    folder = work / "undisturbed"
    for notebook in notebooks:
        finished = (folder / "results" / "smoke" / notebook / "executed" / f"{notebook}.ipynb").exists()
        if not finished and (code := start(notebook, 1, folder).wait()):
            raise SystemExit(f"{notebook} failed undisturbed (exit code {code}); see {folder}/output.txt")
    return folder, {notebook: count(folder / "results" / "smoke" / notebook) for notebook in notebooks}


def disturbed(
    notebook: str, workers: int, folder: Path, total: int, kills: int, rng: np.random.Generator
) -> tuple[list[Kill], list[str]]:
    """Run a notebook with kills; returns these and what was lost or repeated."""
    done: list[Kill] = []
    held: list[dict[str, bytes]] = []
    results = folder / "results" / "smoke" / notebook
    while len(done) < kills:
        wanted, pause = rng.integers(min(count(results), total), total, endpoint=True), rng.uniform(0, 10)
        threads, since = 1 + len(done) % 2, time.monotonic()
        run = start(notebook, workers, folder, threads)
        while run.poll() is None and count(results) < wanted:
            time.sleep(0.2)
        try:
            run.wait(pause)  # too late for a kill
            held.clear()
            shutil.rmtree(results)
        except subprocess.TimeoutExpired:
            processes, seconds = kill(run), time.monotonic() - since
            held.append(logs(results))
            finished = sum(map(trials, held[-1].values()))
            done.append(Kill(notebook, workers, threads, seconds, processes, finished, total))
            print(done[-1], flush=True)
    if code := start(notebook, workers, folder, 1 + len(done) % 2).wait():
        return done, [f"{notebook} failed after kills (exit code {code})"]
    end = logs(results)
    lost = {path for before in held for path in before if not end.get(path, b"").startswith(before[path])}
    twice = {path for path, content in end.items() if len(set(ids(content))) < len(ids(content))}
    wrong = [f"{notebook}/{path}: begins otherwise than when its run was killed" for path in sorted(lost)]
    return done, wrong + [f"{notebook}/{path}: a trial twice" for path in sorted(twice)]


def differing(one: Path, other: Path) -> tuple[int, list[str]]:
    """How many tables two runs of a notebook have, and those that differ in more than times."""
    found = [{path.name: path for path in results.glob("*.csv")} for results in (one, other)]
    names = sorted((found[0].keys() | found[1].keys()) - TIMES_ONLY)
    same = [name in found[0] and name in found[1] and _same(found[0][name], found[1][name]) for name in names]
    return len(names), [f"{one.name}/{name}" for name, equal in zip(names, same, strict=True) if not equal]


def _same(one: Path, other: Path) -> bool:
    a, b = (pd.read_csv(path, dtype=str) for path in (one, other))
    a, b = (table.drop(columns=[c for c in table if TIMES.search(c)]) for table in (a, b))
    return a.equals(b)


def decided_otherwise(notebook: str, folder: Path) -> tuple[int, list[str]]:
    """How many searches' decisions were made once more, and those that an undisturbed run would have made otherwise."""
    os.environ["JAHSLIB_RESULTS"] = str(folder)
    searches = [run for run in experiment(notebook, {"profile": "smoke"}).study.planned if logfiles.exists(run.log)]
    reports = [(run.log, replay(run.optimizer, run.log)) for run in searches]
    return len(reports), [f"{notebook}/{log.stem}: {report}" for log, report in reports if report.trial is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="with each number of workers; at least one a notebook")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--notebooks", nargs="+", choices=NOTEBOOKS, default=NOTEBOOKS, metavar="NOTEBOOK")
    args = parser.parse_args()
    reference, totals = undisturbed(args.work, args.notebooks)
    shares = np.array(list(totals.values())) / sum(totals.values())
    for workers in args.workers:
        folder = args.work / f"killed-{workers}"
        extra = max(args.kills - len(args.notebooks), 0)
        more = np.random.default_rng([args.seed, workers]).choice(args.notebooks, extra, p=shares)
        for notebook in args.notebooks:
            file = folder / f"{notebook}.json"
            if file.exists():
                continue
            rng = np.random.default_rng([args.seed, workers, NOTEBOOKS.index(notebook)])
            kills = 1 + int((more == notebook).sum())
            done, wrong = disturbed(notebook, workers, folder, totals[notebook], kills, rng)
            tables, other = differing(*(f / "results" / "smoke" / notebook for f in (reference, folder)))
            again, otherwise = decided_otherwise(notebook, folder)
            told = Outcome(
                workers, count(folder / "results" / "smoke" / notebook), again, tables, other, wrong + otherwise
            )
            write(file, json.dumps({"kills": [vars(kill) for kill in done], "outcome": vars(told)}))
            write(TABLE, page(args.work))


def page(work: Path) -> str:
    found = [json.loads(path.read_text()) for path in sorted(work.glob("killed-*/*.json"))]
    kills = [Kill(**k) for one in found for k in one["kills"]]
    outcomes = [Outcome(**one["outcome"]) for one in found]
    told = []
    for workers in sorted({o.workers for o in outcomes}):
        own = [o for o in outcomes if o.workers == workers]
        wrong, other = [w for o in own for w in o.wrong], [name for o in own for name in o.differing]
        told.append(
            f"- {workers} worker{'s' * (workers > 1)}: {sum(k.workers == workers for k in kills)} kills in {len(own)} "
            f"notebooks, {sum(o.trials for o in own):,} trials, decisions of {sum(o.replayed for o in own)} searches "
            f"made once more. Lost, repeated or decided otherwise: {'; '.join(wrong) or 'none'}. Of "
            f"{sum(o.tables for o in own)} tables, other than those of the undisturbed run with one worker: "
            f"{', '.join(other) or 'none'}."
        )
    head = ("notebook", "workers", "threads", "killed after, s", "processes", "trials logged by then, of")
    lines = [
        [k.notebook, k.workers, k.threads, f"{k.seconds:.0f}", k.processes, f"{k.finished}, {k.total}"] for k in kills
    ]
    return "\n".join(
        [
            "# Runs killed at random moments",
            "",
            "Written by `python -m benchmarks.kills`, which says what was done and what is compared.",
            "",
            *told,
            "",
            *("| " + " | ".join(map(str, line)) + " |" for line in [head, ["---"] * len(head), *lines]),
            "",
        ]
    )


if __name__ == "__main__":
    main()
