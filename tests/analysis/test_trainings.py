"""Tables of trainings of given networks."""

import numpy as np
import pytest

from jahslib.analysis import trainings
from jahslib.core.trials import Trial

REPORTED = {"channels": "10-16-21", "params_thousands": 6.4, "params_sd": 0.4, "accuracy": 0.9, "accuracy_sd": 0.003}


def trial(folds):
    """One trial of (accuracy, widths) folds."""
    noted = []
    for top1, widths in folds:
        trace = {"step": [1.0, 2.0]}
        for i, w in enumerate(widths):
            trace |= {f"width_{i}": [8, w], f"effective_{i}": [4.0, w / 2], f"average_{i}": [0.5, 0.5]}
        noted.append({"widths": list(widths), "n_conv": len(widths), "top1": top1, "params": 100.0, "trace": trace})
    metrics = {"top1": float(np.mean([f[0] for f in folds])), "params": 100.0}
    return Trial({}, 2, metrics=metrics, outputs={"folds": noted}, seconds=30.0)


def comparison(growing=(0.92, 0.93, 0.94)):
    found = {"baseline": (0.90, 0.91, 0.92), "static": (0.90, 0.91, 0.92), "growing": growing}
    return {name: [trial([(v, (8, 8, 8))]) for v in values] for name, values in found.items()}


def test_seeds_are_put_together():
    assert trainings.by_name({("a", 0): ["x"], ("b", 0): ["y"], ("a", 1): ["z"]}) == {"a": ["x", "z"], "b": ["y"]}


def test_the_sweep_stands_beside_the_reported_values():
    swept = {"q = 0.8": [trial([(0.8, (10, 12, 14)), (0.9, (11, 12, 15))])], "other": [trial([(0.7, (8, 8, 8))])]}
    row, other = trainings.sweep_table(swept, {"q = 0.8": REPORTED}).itertuples()
    assert (row.channels, row.n, row.minutes) == ("10-12-14", 2, 0.5) and row.accuracy_sd == pytest.approx(0.05)
    assert (row.reported_channels, row.reported_accuracy, row.reported_params) == ("10-16-21", 0.9, 6400)
    assert np.isnan(other.reported_accuracy)
    assert list(trainings.sweep_table({}, {}).columns)[:3] == ["type", "n", "channels"]


def test_changes_stand_side_by_side():
    row = trainings.ablation_table({"random": [trial([(0.8, (10, 12, 14)), (0.9, (11, 12, 15))])]}).iloc[0]
    assert (row.change, row.n, row.params, row.accuracy) == ("random", 2, "100 ± 0", "0.850 ± 0.050")


def test_points_are_ours_and_those_reported_of_the_same_networks():
    swept = {"q = 0.8": [trial([(0.8, (10, 12, 14)), (0.9, (11, 12, 15))])]}
    reported = {name: {"params": [6000] * 5, "accuracy": [0.9] * 5} for name in ("q = 0.8", "q = 0.9")}
    points = trainings.points_table(swept, reported)
    assert list(points) == ["type", "params", "accuracy", "source"]
    assert points.source.tolist() == ["ours"] * 2 + ["reported"] * 5 and set(points.type) == {"q = 0.8"}
    assert list(trainings.points_table(swept, {"q = 0.8": {"accuracy": [0.9]}})) == ["type", "accuracy", "source"]


def test_traces_are_relative_to_the_width():
    table = trainings.traces_table([trial([(0.8, (10, 12, 14))])])
    assert set(table.relative) == {0.5} and len(table) == 6


def test_all_but_the_baseline_are_compared_with_it():
    reported = dict.fromkeys(comparison(), REPORTED)
    table = trainings.tests_table(comparison(), reported).set_index("type")
    assert np.isnan(table.loc["baseline", "z_p"]) and table.loc["static", "t_p"] == pytest.approx(0.5)
    assert table.loc["growing", "z_p"] < table.loc["growing", "t_p"] < 0.05
    assert table.loc["growing", "reported_accuracy"] == "0.900 ± 0.003"
    once = {name: trials[:1] for name, trials in comparison().items()}
    assert trainings.tests_table(once, reported).z_p.isna().all()
