"""What the tables of several studies share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from jahslib.analysis.text import pm
from jahslib.core.trials import History, Trial, origins
from jahslib.search.runs import AnySearch


def mean_of(trials: Sequence[Trial], metric: str) -> float:
    """Mean of a metric over trials that all have it."""
    return float(np.mean([t.metrics[metric] for t in trials]))


def mean_epochs(searches: Sequence[AnySearch]) -> int:
    """Epochs that a search was charged, mean over searches."""
    return round(float(np.mean([sum(t.epochs for t in s.history) for s in searches])))


def feasible_share(search: AnySearch) -> float:
    """Share of a search's full evaluations that meet the study's constraints."""
    return float(np.mean([search.feasible(t) for t in search.full]))


def model_share(searches: Sequence[AnySearch]) -> str:
    """Share of a search's configurations that its model proposed, over the searches whose logs tell where theirs come
    from; empty where none does. The others were drawn: at random, or for the initial design."""
    told = [origins(s.history) for s in searches]
    shares = [found.get("model", 0.0) for found in told if found]
    return pm(shares, 2) if shares else ""


def ranked(means: Mapping[str, float], labels: Mapping[str, str], *, digits: int = 3, lowest: bool = False) -> str:
    """Methods in words with their means, the highest first or the lowest: "EA (0.912), random (0.900)"."""
    best_first = sorted(means, key=means.__getitem__, reverse=not lowest)
    return ", ".join(f"{labels[m]} ({means[m]:.{digits}f})" for m in best_first)


@dataclass(frozen=True)
class Standing:
    """How a search stands after a trial: trials, epochs charged and minutes so far, and the incumbent by then."""

    trial: Trial
    trials: int
    epochs: float
    minutes: float
    incumbent: Trial


def course(search: AnySearch) -> Iterator[Standing]:
    """A search trial by trial, from the first on that can be the incumbent."""
    best, epochs = None, 0.0
    for number, trial in enumerate(search.history, start=1):
        epochs += trial.epochs
        if search.problem.full([trial]):
            best = min(filter(None, (best, trial)), key=lambda t: (search.problem.rank(t), t.id))
        if best is not None:
            yield Standing(trial, number, epochs, trial.elapsed / 60, best)


def incumbent_curves(searches: Sequence[AnySearch], metric: str) -> pd.DataFrame:
    """One row a full evaluation: the incumbent's `metric`, epochs and minutes spent so far, whether it is feasible."""
    return pd.DataFrame(
        {
            "method": s.method,
            "seed": s.seed,
            "epochs": at.epochs,
            "minutes": at.minutes,
            metric: at.incumbent.metrics[metric],
            "feasible": s.feasible(at.incumbent),
        }
        for s in searches
        for at in course(s)
        if s.problem.full([at.trial])
    )


SAME_SESSION = 0.5  # seconds: the clocks agree to milliseconds, and to start a process takes longer


def choosing(history: History) -> list[float]:
    """Seconds that each trial but the first of a session waited for its proposal, from the log's clocks.

    The first also waits for the optimizer's package to be imported and, in a search that was resumed, for all that it
    had proposed before. Only a search that trains one trial at a time keeps choosing and training apart.
    """
    pairs = list(zip(history.trials, history.trials[1:], strict=False))
    # `elapsed` stands still between two sessions, `finished` does not.
    stood_still = [(trial.finished - before.finished) - (trial.elapsed - before.elapsed) for before, trial in pairs]
    return [
        max(0.0, trial.elapsed - before.elapsed - trial.seconds)
        for (before, trial), pause in zip(pairs, stood_still, strict=True)
        if pause < SAME_SESSION
    ]


def layer_traces(traces: Sequence[Mapping[str, Sequence[float]]], n_conv: int) -> pd.DataFrame:
    """Tidy rows (layer, training, step, and what was traced of a layer) from the traces of several trainings.

    A trace maps `step` and `NAME_i` (of hidden layer i) to equally long lists; layers are called conv 0, ..., fc 0, ...
    """
    parts = []
    for training, trace in enumerate(traces):
        n_layers = sum(name.startswith("width_") for name in trace)
        for i in range(n_layers):
            own: dict[str, Any] = {
                name.removesuffix(f"_{i}"): values for name, values in trace.items() if name.endswith(f"_{i}")
            }
            label = f"conv {i}" if i < n_conv else f"fc {i - n_conv}"
            parts.append(pd.DataFrame({"step": trace["step"], **own}).assign(layer=label, training=training))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
