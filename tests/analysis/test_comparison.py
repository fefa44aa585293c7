import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from jahslib.analysis import statistics
from jahslib.analysis.pairs import paired
from jahslib.errors import UserError
from jahslib.figures import comparison


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


class TestPaired:
    def test_a_constant_lead_is_certain_however_much_the_seeds_differ(self):
        """Unpaired, the spread between seeds would drown it."""
        second = rng(1).uniform(0, 1, 12)
        found = paired(pd.Series(second + 0.01 - second))
        assert (found["difference"], found["low"], found["high"]) == pytest.approx((0.01, 0.01, 0.01))
        assert found["n"] == found["above"] == 12
        assert found["p"] == paired(pd.Series(second - (second + 0.01)))["p"] < 0.001

    def test_the_interval_is_that_of_the_mean_difference(self):
        """For normal differences it comes near mean ± 1.96 sd / sqrt(n)."""
        differences = rng(2).normal(0.3, 1, 400)
        found = paired(pd.Series(differences))
        half = 1.96 * differences.std() / 20
        assert found["low"] == pytest.approx(differences.mean() - half, abs=0.02)
        assert found["high"] == pytest.approx(differences.mean() + half, abs=0.02)
        assert found == paired(pd.Series(differences))

    def test_no_difference_is_even(self):
        found = paired(pd.Series([-1.0, 1.0, -1.0, 1.0]))
        assert found["difference"] == 0 and found["low"] < 0 < found["high"] and found["above"] == 2
        assert paired(pd.Series([0.0, 0.0]))["p"] == 1.0


def test_the_band_covers_the_mean_and_narrows_with_seeds():
    values = rng(4).normal(size=(40, 6))
    low, high = statistics.band(values, rng())
    few_low, few_high = statistics.band(values[:5], rng())
    assert (low < values.mean(0)).all() and (values.mean(0) < high).all()
    assert (high - low).mean() < 0.6 * (few_high - few_low).mean()
    assert (high - low).mean() == pytest.approx(2 * 1.96 / np.sqrt(40), rel=0.25)


def test_costs_stack_the_parts_of_the_mean():
    costs = pd.DataFrame(
        {"method": ["a", "a", "b"], "training": [2.0, 4.0, 5.0], "choosing": [1.0, 1.0, 0.5], "seed": [0, 1, 0]}
    )
    figure = comparison.costs(costs, {"training": "t", "choosing": "c"}, {"a": "A", "b": "B", "unused": "U"})
    widths = [[bar.get_width() for bar in part] for part in figure.axes[0].containers]
    assert widths == [[3.0, 5.0], [1.0, 0.5]]
    assert [bar.get_x() for bar in figure.axes[0].containers[1]] == [3.0, 5.0]


def test_one_sided_tests_are_of_being_above_the_baseline():
    baseline = [0.90, 0.91, 0.92]
    assert statistics.one_sided(baseline, baseline) == pytest.approx((0.5, 0.5))
    z_p, t_p = statistics.one_sided([0.92, 0.93, 0.94], baseline)
    assert z_p < t_p < 0.05
    assert min(statistics.one_sided([0.80, 0.81, 0.82], baseline)) > 0.95


def test_mcnemar_by_hand():
    """b = 9, c = 1: (|9 - 1| - 1)^2 / 10 = 4.9, beyond 3.841."""
    labels = np.zeros(20, int)
    one, other = labels.copy(), labels.copy()
    other[:9], one[9] = 1, 1
    found = {"EA-HB": one, "RS": other, "same": one.tolist()}
    row, same = statistics.mcnemar_table(labels, found, {"EA-HB vs RS": 6.56}).itertuples()
    assert row.statistic == pytest.approx(4.9) and row.significant and row.pair == "EA-HB vs RS"
    assert (row.only_first_right, row.only_second_right, row.reported_statistic) == (9, 1, 6.56)
    assert (same.only_first_right, same.only_second_right, same.significant) == (0, 0, False)
    assert statistics.mcnemar_table(labels, {"EA-HB": one}, {}).empty


class TestRanking:
    costs = pd.DataFrame({"a": [0.1] * 12, "b": [0.2] * 12, "c": [0.3, 0.4] * 6})

    def test_ranks_are_within_blocks_and_equal_costs_share_theirs(self):
        found = statistics.ranking(pd.DataFrame({"a": [0.1, 0.9], "b": [0.2, 0.2], "c": [0.2, np.inf]}))
        assert found.ranks.to_dict() == {"a": 1.5, "b": 1.75, "c": 2.75} and found.blocks == 2

    def test_a_method_that_always_wins_is_told_from_the_one_that_always_loses(self):
        found = statistics.ranking(self.costs)
        assert found.friedman < 1e-4 and found.nemenyi.loc["a", "c"] < 1e-4
        assert found.nemenyi.loc["a", "b"] == found.nemenyi.loc["b", "a"] == pytest.approx(0.038, abs=0.002)

    def test_nemenyis_critical_difference(self):
        """Demsar's table 5: of three methods mean ranks differ at .05 from 2.343 sqrt(k (k + 1) / 6 N), here one rank,
        with 11 blocks or more."""
        for n, apart in ((10, False), (11, True), (12, True)):
            critical = 2.343 * np.sqrt(3 * 4 / (6 * n))
            assert (critical < 1) == apart == (statistics.ranking(self.costs[:n]).nemenyi.loc["b", "c"] < 0.05)

    def test_all_equal_is_no_difference(self):
        found = statistics.ranking(pd.DataFrame({m: [1.0, 1.0] for m in "abc"}))
        assert found.friedman == 1 and (found.nemenyi == 1).all().all()

    @pytest.mark.parametrize("shape", [(5, 2), (1, 4)])
    def test_refuses_what_cannot_be_ranked(self, shape):
        with pytest.raises(UserError, match=f"{shape[1]} methods on {shape[0]} blocks"):
            statistics.ranking(pd.DataFrame(np.zeros(shape)))

    def test_the_diagram_names_every_method_with_its_rank(self):
        figure = comparison.critical_differences(
            {"all": statistics.ranking(self.costs)}, {"a": "A", "b": "B", "c": "C", "unused": "U"}
        )
        shown = " ".join(text.get_text() for text in figure.axes[0].texts)
        assert all(named in shown for named in ("A (1.00)", "B", "2.00", "C", "3.00")) and "U" not in shown

    def test_the_diagram_does_not_hang_on_string_hashing(self):
        """A bar over several methods is drawn alike here and in a process that hashes texts differently."""
        code = (
            "import pandas as pd; from jahslib.analysis.statistics import ranking;"
            "from jahslib.figures import comparison;"
            "costs = pd.DataFrame([[1, 2, 3, 4, 5], [2, 1, 4, 5, 3], [1, 3, 5, 2, 4]], columns=list('abcde'));"
            "figure = comparison.critical_differences({'all': ranking(costs)}, {m: m for m in 'abcde'});"
            "drawn = [list(map(float, line.get_xdata())) for line in figure.axes[0].lines]"
        )
        exec(code, here := {})
        command, env = [sys.executable, "-c", f"{code};print(drawn)"], {**os.environ, "PYTHONHASHSEED": "1"}
        there = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
        assert there == f"{here['drawn']}\n"


def test_costs_in_panels_keep_to_their_own_methods():
    rows = [("x", "a", 2.0), ("x", "b", 5.0), ("y", "b", 1.0)]
    costs = pd.DataFrame([{"task": t, "method": m, "training": s} for t, m, s in rows])
    figure = comparison.costs(costs, {"training": "t"}, {"a": "A", "b": "B"}, panel="task")
    widths = [[bar.get_width() for bar in axis.containers[0]] for axis in figure.axes]
    assert widths == [[2.0, 5.0], [1.0]] and [axis.get_title(loc="left") for axis in figure.axes] == ["x", "y"]


def test_without_a_ranking_the_figure_says_so():
    figure = comparison.critical_differences({}, {})
    assert "no ranking" in figure.axes[0].texts[0].get_text()
