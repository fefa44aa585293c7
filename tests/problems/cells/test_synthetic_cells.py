"""The made-up value over cells."""

import numpy as np

from jahslib.core.problem import Job
from jahslib.problems.cells.synthetic_cells import NOISE, SyntheticCells


def test_noise_is_the_cells_own_and_on_what_is_seen_only():
    problem = SyntheticCells()
    first, second = (problem.space.sample(np.random.default_rng(s)) for s in (0, 1))
    measured = [problem.evaluate(Job(c, (1,), seed)).metrics for c in (first, second) for seed in (0, 1)]
    assert measured[0] == measured[1] and measured[2] == measured[3]
    noises = [m["val_error"] - m["test_error"] for m in measured]
    assert max(map(abs, noises)) <= NOISE / 2 and noises[0] != noises[2]


def test_errors_are_errors():
    problem = SyntheticCells()
    errors = [
        problem.evaluate(Job({"architecture": str(t)}, (1,), 0)).metrics for t in problem.space.grammar.enumerate()
    ]
    assert 0 < min(e["val_error"] for e in errors) and max(e["val_error"] for e in errors) < 1
    assert min(e["test_error"] for e in errors) == problem.best_test()
