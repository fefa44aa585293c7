"""Figures shared by studies: what is drawn is what the tables say."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from jahslib.figures import panels


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def curves():
    """Two seeds of "a", one of "b"; the second seed of "a" starts later and ends earlier."""
    points = {("a", 0): {1: 0.2, 3: 0.4, 6: 0.6}, ("a", 1): {2: 0.4, 5: 0.8}, ("b", 0): {1: 0.1, 6: 0.2}}
    rows = [(method, seed, x, y) for (method, seed), curve in points.items() for x, y in curve.items()]
    return pd.DataFrame(rows, columns=["method", "seed", "epochs", "accuracy"])


class TestTraces:
    def test_a_curve_begins_with_its_last_seed_and_keeps_the_value_of_one_that_ended(self):
        axis = plt.figure().subplots()
        panels.traces(axis, curves(), "epochs", "accuracy", {"a": "A", "b": "B", "c": "C"})
        a, b = axis.lines
        assert (a.get_label(), b.get_label()) == ("A", "B")  # "c" ran nothing
        assert a.get_xdata().tolist() == [2, 3, 5, 6]
        assert a.get_ydata() == pytest.approx([0.3, 0.4, 0.6, 0.7])
        assert b.get_xdata().tolist() == [1, 6]
        assert (a.get_color(), a.get_linestyle()) != (b.get_color(), b.get_linestyle())

    def test_the_band_is_of_the_mean_and_one_seed_has_none(self):
        axis = plt.figure().subplots()
        panels.traces(axis, curves(), "epochs", "accuracy", {"a": "A", "b": "B"})
        (filled,) = axis.collections
        at_two = [y for x, y in np.asarray(filled.get_paths()[0].vertices) if x == 2]
        assert (min(at_two), max(at_two)) == pytest.approx((0.2, 0.4))  # of two seeds: from one to the other


def test_panels_have_their_metrics_costs_and_the_bound():
    table = curves().assign(minutes=lambda t: t.epochs / 2, precision=0.5)
    rows, columns = {"accuracy": "accuracy", "precision": "precision"}, {"epochs": "epochs", "minutes": "minutes"}
    figure = panels.anytime(table, rows, columns, {"a": "A", "b": "B"}, limits={"precision": 0.39})
    labels = [(axis.get_ylabel(), axis.get_xlabel()) for axis in figure.axes]
    assert labels == [("accuracy", ""), ("", ""), ("precision", "epochs"), ("", "minutes")]
    bounds = [[line for line in axis.lines if list(line.get_ydata()) == [0.39, 0.39]] for axis in figure.axes]
    assert [len(lines) for lines in bounds] == [0, 0, 1, 1]
    named = [[text.get_position() for text in axis.texts if text.get_text() == "floor"] for axis in figure.axes]
    assert named == [[], [], [], [(1.01, 0.39)]]  # once a row, beyond the panel: over no curve
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["A", "B"]


def by_task():
    rows = [
        {"task": d, "method": m, "seed": s, "trials": t, "minutes": 0.1 * t * (s + 1), "top1": 0.5 + 0.01 * t + 0.1 * s}
        for d in ("one", "two")
        for m in ("a", "b")
        for s in (0, 1)
        for t in (1, 2, 3)
    ]
    return pd.DataFrame(rows)


def test_a_task_has_a_row_and_a_cost_a_column():
    costs = {"trials": "trials", "minutes": "minutes"}
    figure = panels.anytime(by_task(), {"top1": "accuracy"}, costs, {"a": "A", "b": "B"})
    assert len(figure.axes) == 4 and [len(axis.lines) for axis in figure.axes] == [2] * 4
    assert all(len(axis.collections) == 2 for axis in figure.axes)
    line = figure.axes[0].lines[0]
    assert line.get_xdata().tolist() == [1, 2, 3]
    assert line.get_ydata() == pytest.approx([0.56, 0.57, 0.58])


@pytest.mark.parametrize("at", [0.01, 0.05, 0.6])
def test_a_logarithmic_axis_has_ticks_also_of_less_than_a_decade(at):
    own = by_task().assign(error=lambda t: at * (1 + 0.2 * t.top1))
    (axis,) = panels.anytime(
        own[own.task == "one"], {"error": "error"}, {"trials": "trials"}, {"a": "A"}, log=True
    ).axes
    low, high = axis.get_ylim()
    assert sum(low <= tick <= high for tick in axis.get_yticks()) > 1


def test_with_one_metric_and_one_cost_tasks_stand_side_by_side_and_every_method_is_named_once():
    own = by_task()
    own = own[(own.method == "a") | (own.task == "two")]  # B is missing from the first panel
    figure = panels.anytime(own, {"top1": "accuracy"}, {"trials": "trials"}, {"a": "A", "b": "B"})
    assert [len(axis.lines) for axis in figure.axes] == [1, 2]
    assert figure.axes[0].get_position().y0 == figure.axes[1].get_position().y0
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["A", "B"]


def test_an_ellipse_is_one_sigma_of_the_covariance():
    rng = np.random.default_rng(0)
    points = rng.multivariate_normal([4, 0.8], [[0.04, 0.002], [0.002, 0.0009]], size=4000)
    table = pd.DataFrame({"type": "q", "params": 10 ** points[:, 0], "accuracy": points[:, 1], "source": "ours"})
    axis = panels.ellipses(table, "params", "accuracy", x_label="x", y_label="y", panel="source").axes[0]
    (ellipse,) = axis.patches
    inside = ellipse.get_path().contains_points(ellipse.get_patch_transform().inverted().transform(points))
    assert inside.mean() == pytest.approx(1 - np.exp(-0.5), abs=0.03)


def test_boxes_reach_from_the_least_to_the_largest_and_show_every_run():
    table = pd.DataFrame({"type": list("xxxyy"), "score": [0.1, 0.2, 0.6, 0.3, 0.4], "panel": "p"})
    (axis,) = panels.boxes(table, "score", label="score", panel="panel").axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["x", "y"]
    drawn = [sorted(cloud.get_offsets()[:, 0].tolist()) for cloud in axis.collections]
    assert drawn == [[0.1, 0.2, 0.6], [0.3, 0.4]]
    ends = {x for line in axis.lines for x in np.asarray(line.get_xdata())}
    assert {0.1, 0.6, 0.3, 0.4} <= ends


def test_feasibility_tells_by_colour_which_constraints_hold():
    table = pd.DataFrame(
        {
            "method": "ea",
            "top3": [0.5, 0.6, 0.7],
            "size": [1, 2, 9],
            "feasible": [True, False, False],
            "size_met": [True, True, False],
        }
    )
    figure = panels.feasibility(table, "size", {"ea": "EA", "rs": "RS"}, bound=5, x_label="size")
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in shown] == ["EA"]
    assert [cloud.get_offsets()[:, 0].tolist() for cloud in shown[0].collections] == [[1], [2], [9]]
    assert list(shown[0].lines[0].get_xdata()) == [5, 5]
    assert len(figure.legends[0].get_texts()) == 3


def test_rungs_colour_what_reached_the_last_one():
    rows = [(0, "a", 3, 0.4, False), (0, "a", 6, 0.5, True), (0, "b", 3, 0.3, False), (1, "c", 6, 0.6, True)]
    table = pd.DataFrame(rows, columns=["bracket", "member", "fidelity", "accuracy", "final"])
    first, second = panels.rungs(table, "accuracy", "accuracy").axes
    assert [line.get_color() == panels.COLOURS[0] for line in first.lines] == [True, False]
    assert [label.get_text() for label in first.get_xticklabels()] == ["3", "6"]
    assert (first.get_title(), second.get_title()) == ("bracket 1", "bracket 2")


def test_a_confusion_matrix_has_true_classes_as_rows():
    axis, colorbar = panels.confusion(np.array([[5, 2], [0, 3]]), ["cat", "dog"]).axes
    assert (axis.get_ylabel(), axis.get_xlabel()) == ("true class", "predicted class")
    assert [text.get_text() for text in axis.texts] == ["5", "2", "", "3"]
    assert all(tick == int(tick) for tick in colorbar.get_yticks())


def test_a_layers_curve_is_drawn_by_layer_and_the_networks_size_once():
    rows = [(layer, t, s, w, 100 * s) for layer in ("conv 0", "conv 1") for t in (0, 1) for s, w in ((0, 8), (5, 9))]
    table = pd.DataFrame(rows, columns=["layer", "training", "step", "width", "params"])
    widths, sizes = panels.layer_panels(table, {"width": "channels", "params": "parameters"}).axes
    assert [line.get_label() for line in widths.lines] == ["conv 0", "conv 1"]
    assert [line.get_label() for line in sizes.lines] == ["network"]


def test_clouds_have_every_trial_on_a_logarithmic_axis():
    table = pd.DataFrame({"method": ["a", "a", "b"], "lr": [1e-3, 1e-2, 1e-1], "accuracy": [0.1, 0.2, 0.3]})
    (axis,) = panels.clouds(table, {"lr": "learning rate"}, "accuracy", "accuracy", {"a": "A", "b": "B"}).axes
    assert axis.get_xscale() == "log"
    assert [cloud.get_offsets()[:, 0].tolist() for cloud in axis.collections] == [[1e-3, 1e-2], [1e-1]]


@pytest.mark.parametrize(("value", "text"), [(3000, "3000"), (1e5, "1e5"), (0.01, "0.01"), (3e6, "3e6")])
def test_ticks_of_logarithmic_axes_are_short(value, text):
    assert panels._short(value, 0) == text


def test_ellipses_and_boxes_show_every_point():
    points = [("q = 1", 1978, 0.88), ("q = 1", 1978, 0.89), ("q = 0.3", 6e5, 0.9), ("q = 0.3", 5e5, 0.91)]
    rows = [(*point, source) for point in points for source in ("ours", "reported")]
    table = pd.DataFrame(rows, columns=["type", "params", "accuracy", "source"])
    figure = panels.ellipses(table, "params", "accuracy", x_label="x", y_label="y", panel="source")
    assert [len(axis.patches) for axis in figure.axes] == [2, 2]
    figure = panels.boxes(table, "accuracy", label="accuracy", panel="source")
    assert sum(len(c.get_offsets()) for c in figure.axes[0].collections) == 4
