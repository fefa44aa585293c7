from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest
from ConfigSpace import ConfigurationSpace

from jahslib.core.problem import Constraint, Objective
from jahslib.core.trials import Suggestion, Trial, key
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.hyperband import Brackets, plan
from jahslib.optimizers.successive_halving import ASHA, Hyperband
from jahslib.search import Budget, search
from tests.conftest import PRECISION, SIZE, Toy, decisions
from tests.optimizers.test_evolution import follow, newcomers


@pytest.mark.parametrize("make", [ASHA, Hyperband])
@pytest.mark.parametrize("workers", [1, 4])
def test_configurations_are_random_and_new(make, workers):
    problem = Toy([SIZE, PRECISION])
    history = follow(problem, make(problem, 0), 100, workers, newest_first=True)
    assert max(Counter(newcomers(history)).values()) == 1
    assert {s.origin for s in history.suggestions} == {"random"}
    assert all(problem.admits(s.configuration) for s in history.suggestions)


def test_hyperband_works_through_its_plan():
    problem = Toy(high=9)
    ran = Counter((t.bracket, t.rung, t.fidelity) for t in follow(problem, Hyperband(problem, 0), 22))
    rungs = [(n, k, rung) for n, bracket in enumerate(plan(1, 9, 3)) for k, rung in enumerate(bracket)]
    assert ran == {(n, k, rung.fidelity): rung.members for n, k, rung in rungs}


def test_hyperband_starts_the_next_bracket_while_a_rung_waits_for_its_slowest():
    problem = Toy(high=9)
    history = follow(problem, Hyperband(problem, 0), 40, workers=4, newest_first=True)
    waiting = history.suggestions[9:12]  # the first rung's nine members are asked; the first of them is never done
    assert [s.bracket for s in waiting] == [1, 1, 1]


def test_asha_promotes_whoever_is_in_the_top_third_at_once():
    problem = Toy(high=9)
    history = follow(problem, ASHA(problem, 0), 60)
    known = {0: [], 1: [], 2: []}
    promoted = set()
    for t in history:
        for rung in (1, 0):
            top = sorted(known[rung], key=problem.rank)[: len(known[rung]) // 3]
            due = [m for m in top if m.id not in promoted]
            if due:
                assert (t.parent, t.rung) == (due[0].id, rung + 1)
                promoted.add(t.parent)
                break
        else:
            assert t.parent is None and t.rung == 0
        known[t.rung].append(t)
    assert known[2] and all(t.final and t.fidelity == 9 for t in known[2])


def test_asha_promotes_no_failure():
    problem = Toy(high=9)
    optimizer = ASHA(problem, 0)
    history = follow(problem, optimizer, 3)
    optimizer.start()
    for trial in history:
        optimizer.observe(replace(trial, status="failed"))
    assert optimizer.propose().parent is None


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("make", [ASHA, Hyperband, partial(Evolution, hyperband=True)])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_best_of_a_small_space_is_trained_to_the_end(make, workers, tmp_path):
    problem, path = Toy(space=ConfigurationSpace({"kernel": [3, 5, 7], "norm": [True, False]})), tmp_path / "log.jsonl"
    problem.objective = Objective("precision")
    history = search(problem, make, Budget(trials=50), path, seed=0, executor=ThreadPoolExecutor(1), workers=workers)
    at = {fidelity: [t for t in history if t.fidelity == fidelity] for fidelity in (1, 3, 9)}
    assert len(at[1]) == 6 and [problem.rank(t) for t in at[9]] == [min(map(problem.rank, at[3]))]
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in range(5, len(lines)):
        path.write_bytes(b"".join(lines[:kept]))
        resumed = search(problem, make, Budget(trials=50), path, seed=0)
        assert {key(t.configuration) for t in resumed if t.final} == {key(t.configuration) for t in at[9]}
        assert workers > 1 or decisions(resumed) == decisions(history)


class TestConstraintsAtLowRungs:
    """`time` grows with the epochs and its limit of 9 seems to be kept by all at the lowest rung."""

    def brackets(self, told):
        problem = Toy([Constraint("time", "<=", 9)])
        brackets = Brackets(problem, plan(1, 9, 3))
        for id, (fidelity, parent, time, accuracy) in enumerate(told):
            rung = {1: 0, 3: 1, 9: 2}[fidelity]
            brackets.suggested(Suggestion({}, fidelity, parent, bracket=0, rung=rung))
            metrics = {"time": time, "accuracy": accuracy}
            brackets.finished(Trial({}, fidelity, parent, bracket=0, rung=rung, id=id, metrics=metrics))
        return brackets

    def test_what_is_expected_at_the_highest_fidelity_decides(self):
        first = [(1, None, 1.0 + id, 0.1 * id) for id in range(9)]  # the longer, the better
        second = [(3, id, 3.0 * (1 + id), 0.1 * id) for id in (8, 7, 6)]
        short, long = (Trial({}, 1, id=20 + i, metrics={"time": 2.9 + i, "accuracy": 0.5 + i / 10}) for i in range(2))
        known = self.brackets([*first, *second])
        assert min([short, long], key=known.problem.rank) is long
        assert min([short, long], key=known.rank) is short, "3.9 will be 11.7 at 3 epochs already"
        assert min([short, long], key=self.brackets(first).rank) is long, "of nothing known nothing is assumed"

    def test_results_at_the_highest_fidelity_count_as_they_are(self):
        told = [(1, None, 1.0, 0.1)] * 9 + [(3, 0, 9.0, 0.1)]
        trial = Trial({}, 9, id=30, metrics={"time": 8.0, "accuracy": 0.1})
        known = self.brackets(told)
        assert known.rank(trial) == known.problem.rank(trial)
