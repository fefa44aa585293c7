"""What the logs say: regret of each peer, and what a proposal cost it."""

from pathlib import Path

import numpy as np

from benchmarks.peers.registry import ENTRIES
from jahslib.core.trials import Trial
from jahslib.errors import UserError
from jahslib.problems.benchmarks import benchmark
from jahslib.search import triallog


def log_path(results: Path, problem: str, peer: str, seed: int) -> Path:
    return results / f"{problem}-{peer}-seed{seed}.jsonl"


def logs(results: Path, problem: str, peer: str) -> list[list[Trial]]:
    """The trials of every finished search, by seed."""
    found = []
    paths = sorted(results.glob(f"{problem}-{peer}-seed*.jsonl"), key=lambda p: int(p.stem.rpartition("-seed")[2]))
    for path in paths:
        logged = triallog.read(path)
        if logged.end is not None:
            found.append(logged.trials)
    return found


def table(results: Path, names: list[str], peers: list[str]) -> list[str]:
    """Markdown: a row a peer, the best first; ranks are among the peers that have searched every problem that any has.

    Raises:
        UserError: there is no finished search.
    """
    regrets: dict[str, dict[str, float]] = {}
    seconds: dict[str, list[float]] = {}
    searches: dict[str, int] = {}
    for name in names:
        found = {peer: trials for peer in peers if (trials := logs(results, name, peer))}
        task = benchmark(name) if found else None
        for peer, histories in found.items():
            assert task is not None
            regrets.setdefault(peer, {})[name] = float(
                np.mean([task.regret(task.problem.incumbent(trials)) for trials in histories])
            )
            seconds.setdefault(peer, []).extend(map(proposing, histories))
            searches[peer] = searches.get(peer, 0) + len(histories)
    if not regrets:
        raise UserError(f"peers: {results} has no finished search of these problems; run them first")
    asked = set.union(*map(set, regrets.values()))
    whole = [peer for peer in regrets if set(regrets[peer]) == asked]
    ranks = _ranks(np.array([[regrets[peer][name] for name in sorted(asked)] for peer in whole]))
    lines = ["| peer | problems | searches | mean regret | mean rank | ms a proposal |", "|---|---|---|---|---|---|"]
    for peer in sorted(regrets, key=lambda peer: np.mean(list(regrets[peer].values()))):
        rank = f"{ranks[whole.index(peer)]:.2f}" if peer in whole else ""
        mean, cost = np.mean(list(regrets[peer].values())), 1000 * np.mean(seconds[peer])
        cells = (ENTRIES[peer].title, len(regrets[peer]), searches[peer], f"{mean:.4f}", rank, f"{cost:.1f}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def proposing(trials: list[Trial]) -> float:
    """Seconds a trial that were not spent on evaluating: the tool's, and the search loop's own millisecond."""
    return (trials[-1].elapsed - sum(trial.seconds for trial in trials)) / len(trials)


def _ranks(regrets: np.ndarray) -> np.ndarray:
    """Mean rank of each row over the columns, ties sharing theirs."""
    from scipy.stats import rankdata

    return rankdata(regrets, axis=0).mean(axis=1)
