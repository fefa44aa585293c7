"""Search with peers and ours, or show how they did; see README.md."""

import argparse
import contextlib
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from benchmarks.peers import environments, tables
from benchmarks.peers.registry import ENTRIES, make
from jahslib.errors import UserError
from jahslib.problems.benchmarks import FAMILIES, TUNED, benchmark
from jahslib.search import triallog
from jahslib.search.search import Budget, search

ROOT = Path(__file__).parents[2]


def main() -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.peers", description=__doc__, allow_abbrev=False)
    parser.add_argument("--results", type=Path, required=True, help="folder of the trial logs; finished ones are kept")
    parser.add_argument(
        "--tasks", default="lcbench", help=f"families or tasks, with commas between; families: {', '.join(FAMILIES)}"
    )
    parser.add_argument("--peers", default=",".join(ENTRIES), help="default: all, and ours")
    parser.add_argument("--seeds", default="0-1", help="a range such as 0-29, or one seed")
    parser.add_argument("--trainings", type=int, default=40, help="full trainings that the budget pays for")
    parser.add_argument("--environments", type=Path, default=environments.FOLDER, help="where peers are installed")
    parser.add_argument(
        "--final", action="store_true", help="LCBench's tasks that tuned nothing, in place of the tuning"
    )
    parser.add_argument("--table", action="store_true", help="search nothing, print the table")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        names = _chosen(options.tasks, options.final)
        peers = options.peers.split(",")
        if unknown := [peer for peer in peers if peer not in ENTRIES]:
            raise UserError(f"peers: no peer {unknown[0]!r}; choose from {', '.join(ENTRIES)}")
        if options.table:
            print("\n".join(tables.table(options.results, names, peers)))
            return 0
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    away = {} if options.here else {p: ENTRIES[p].environment for p in peers if ENTRIES[p].environment}
    failed = _searches([p for p in peers if p not in away], names, options)
    for environment in sorted(set(away.values())):
        failed += _elsewhere(environment, [p for p in peers if away.get(p) == environment], options)
    return min(failed, 1)


def _chosen(given: str, final: bool) -> list[str]:
    families = FAMILIES if final else FAMILIES | TUNED
    known = ", ".join(families)
    chosen = []
    for name in given.split(","):
        found = families.get(name) or [t for tasks in families.values() for t in tasks if t == name]
        if not found:
            raise UserError(f"peers: no task {name!r}, or one kept for the final run; families: {known}")
        chosen += found
    return chosen


def _searches(peers: list[str], names: list[str], options: argparse.Namespace) -> int:
    """Run what is not finished; the number of searches that failed."""
    first, _, last = options.seeds.partition("-")
    failed = 0
    for name in names if peers else []:
        problem = benchmark(name).problem
        budget = Budget(epochs=options.trainings * problem.epochs((problem.fidelity.high,)))
        for peer in peers:
            for seed in range(int(first), int(last or first) + 1) if ENTRIES[peer].applies(problem) else []:
                path = tables.log_path(options.results, name, peer, seed)
                if _is_finished(path, budget):
                    continue
                error = path.with_suffix(".error")
                try:
                    optimizer = make(peer, problem, seed, options.trainings)
                    with contextlib.redirect_stdout(sys.stderr):
                        history = search(
                            problem, optimizer, budget, path, seed=seed, study="peers", method=peer, fresh=True
                        )
                except (Exception, SystemExit) as fault:  # of a tool that is not ours: the others go on
                    failed += 1
                    path.parent.mkdir(parents=True, exist_ok=True)
                    error.write_text(traceback.format_exc())
                    print(f"{name} {peer} {seed}: {type(fault).__name__}: {fault}", flush=True)
                else:
                    error.unlink(missing_ok=True)
                    print(f"{name} {peer} {seed}: {len(history.trials)} trials", flush=True)
    return failed


def _is_finished(path: Path, budget: Budget) -> bool:
    with contextlib.suppress(UserError):
        end = triallog.read(path).end
        return end is not None and end["budget"] == vars(budget)
    return False


def _elsewhere(environment: str, peers: list[str], options: argparse.Namespace) -> int:
    """The same command in the environment of these peers."""
    try:
        python = environments.make(environment, options.environments)
    except subprocess.CalledProcessError as error:
        print(f"{', '.join(peers)}: the environment {environment} cannot be made ({error})", flush=True)
        return 1
    command = [python, "-P", "-m", "benchmarks.peers", "--here", *_passed_on(options), "--peers", ",".join(peers)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([str(part) for part in command], env=env, cwd=ROOT).returncode


def _passed_on(options: argparse.Namespace) -> Iterator[str]:
    yield from ("--results", str(options.results.resolve()), "--tasks", options.tasks, "--seeds", options.seeds)
    yield from ("--trainings", str(options.trainings))
    if options.final:
        yield "--final"


if __name__ == "__main__":
    sys.exit(main())
