"""What several studies claim of their own runs, asserted."""

from collections.abc import Mapping, Sequence

from jahslib.studies.runs import AnySearch
from jahslib.trials import Trial


def check_searches(searches: Sequence[AnySearch], epochs: float) -> None:
    """None spent more than so many epochs, saw the test split, or has a trial that is better than its incumbent."""
    for s in searches:
        name = f"{s.method} on {s.problem.data} with seed {s.seed}"
        spent = sum(t.epochs for t in s.history)
        assert spent <= epochs, f"{name} overspent: {spent} epochs"
        assert getattr(s.problem, "split", "validation") == "validation", f"{name} saw the test split"
        better = [t for t in s.full if s.problem.rank(t) < s.problem.rank(s.incumbent)]
        assert not better, f"{name}: {len(better)} trials are better than its incumbent"


def check_finals(finals: Mapping[tuple, Sequence[Trial]], count: int) -> None:
    """Each incumbent was trained so many times for the test."""
    for key, trials in finals.items():
        assert len(trials) == count, f"{', '.join(map(str, key))}: {len(trials)} final trainings"
