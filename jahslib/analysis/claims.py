"""Assertions of several notebooks about their searches; one that fails stops the notebook."""

from collections.abc import Sequence

from jahslib.core.trials import key
from jahslib.search.runs import AnySearch


def check_searches(searches: Sequence[AnySearch], epochs: float) -> None:
    """Assert that no search overspent `epochs`, saw the test split, or has a trial better than its own incumbent."""
    for s in searches:
        name = f"{s.method} on {getattr(s.problem, 'data', s.task)} with seed {s.seed}"
        spent = sum(t.epochs for t in s.history)
        assert spent <= epochs, f"{name} overspent: {spent} epochs"
        assert getattr(s.problem, "split", "validation") == "validation", f"{name} saw the test split"
        better = [t for t in s.full if s.problem.rank(t) < s.problem.rank(s.incumbent)]
        assert s.confirmed or not better, f"{name}: {len(better)} trials are better than its incumbent"


def check_no_repeats(searches: Sequence[AnySearch]) -> None:
    """Assert that no search proposed a configuration twice."""
    for s in searches:
        proposed = [key(t.configuration) for t in s.history]
        assert len(set(proposed)) == len(proposed), f"{s.name}: evaluated a configuration twice"
