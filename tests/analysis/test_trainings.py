"""Tables of trainings of given networks."""

import numpy as np
import pytest

from jahslib.analysis import trainings
from jahslib.core.trials import Trial
from tests.analysis.conftest import final, search

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
    row, other = trainings.networks_table(swept, {"q = 0.8": REPORTED}).itertuples()
    assert (row.channels, row.n, row.minutes) == ("10-12-14", 2, 0.5)
    assert (row.accuracy_mean, row.accuracy_sd) == pytest.approx((0.85, np.std([0.8, 0.9], ddof=1)))
    assert (row.reported_channels, row.reported_accuracy_mean, row.reported_params_mean) == ("10-16-21", 0.9, 6400)
    assert np.isnan(other.reported_accuracy_mean)
    assert list(trainings.networks_table({}, {}).columns)[:3] == ["type", "n", "channels"]
    assert not any("reported" in column for column in trainings.networks_table(swept))


def test_points_are_ours_and_those_reported_of_the_same_networks():
    swept = {"q = 0.8": [trial([(0.8, (10, 12, 14)), (0.9, (11, 12, 15))])]}
    reported = {name: {"params": [6000] * 5, "accuracy": [0.9] * 5} for name in ("q = 0.8", "q = 0.9")}
    points = trainings.points_table(swept, reported)
    assert list(points) == ["type", "params", "accuracy", "training", "source"]
    assert points.source.tolist() == ["ours"] * 2 + ["reported"] * 5 and set(points.type) == {"q = 0.8"}
    without_sizes = trainings.points_table(swept, {"q = 0.8": {"accuracy": [0.9]}})
    assert list(without_sizes) == ["type", "accuracy", "training", "source"]


def test_traces_are_relative_to_the_width():
    table = trainings.traces_table([trial([(0.8, (10, 12, 14))])])
    assert set(table.relative) == {0.5} and len(table) == 6


def test_all_but_the_baseline_are_compared_with_it():
    baseline, static, growing = trainings.tested_against_first(comparison()).itertuples()
    assert np.isnan(baseline.z_p) and static.t_p == pytest.approx(0.5)
    assert growing.z_p < growing.t_p < 0.05
    once = {name: trials[:1] for name, trials in comparison().items()}
    assert trainings.tested_against_first(once).z_p.isna().all()


def test_growth_is_tidy():
    table = trainings.growth_table([search([(3, 0.5, 10)], tests=[final(0.8), final(0.7)])])
    assert len(table) == 2 * 3 * 2 and set(table.layer) == {"conv 0", "conv 1", "conv 2"}
    last = table[(table.step == 2) & (table.layer == "conv 1")]
    assert last.width.tolist() == [12, 12] and last.params.tolist() == [5000, 5000]
    assert trainings.growth_table([]).empty


@pytest.mark.parametrize(("n_conv", "shown"), [(2, "9-12/20"), (3, "9-12-20")])
def test_widths_with_fully_connected_layers(n_conv, shown):
    trial = final(0.5, (9, 12, 20))
    trial.outputs["folds"][0]["n_conv"] = n_conv
    assert trainings.shape([trial]) == shown
