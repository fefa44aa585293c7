"""Each view of a log is a figure where no one can choose, and a widget whose choices all draw where someone can."""

import pytest
from matplotlib.figure import Figure

from jahslib.errors import UserError
from jahslib.figures import widgets
from jahslib.paths import ROOT
from jahslib.reporting import explore

LOGS = ROOT / "results" / "cpu"
VIEWS = {
    explore.hyperparameters: LOGS / "06_ax_bo" / "logs" / "ax-mnist-seed0.jsonl",
    explore.weights: LOGS / "05_darts_bohb" / "logs" / "collapse_plain-fashion_mnist-seed2.jsonl",
    explore.growth: LOGS / "02_growing_thresholds" / "logs" / "q0.9-seed0.jsonl",
    explore.terms: LOGS / "03_grammar_search" / "logs" / "example.jsonl",
}


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.__name__)
def test_a_view_is_one_figure_where_no_one_can_choose(view):
    figure = view(VIEWS[view])
    assert isinstance(figure, Figure)
    assert figure.axes


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.__name__)
def test_every_choice_of_its_widget_draws(view, monkeypatch):
    import ipywidgets

    shown = []
    for module in (explore, widgets):
        monkeypatch.setattr(module, "interactive", lambda: True)
    monkeypatch.setattr("IPython.display.display", shown.append)
    widget = view(VIEWS[view])
    assert isinstance(widget, ipywidgets.interactive)
    for dropdown in widget.kwargs_widgets:
        for _, value in dropdown.options[:6]:
            dropdown.value, before = value, len(shown)
            widget.update()
            assert len(shown) > before, value


@pytest.mark.parametrize("log", ["", "all.jsonl.xz"])
def test_several_logs_are_refused(log):
    logs = VIEWS[explore.hyperparameters].parent
    with pytest.raises(UserError, match=r"is a pack; name one of its logs|Is a directory"):
        explore.hyperparameters(logs / log)


@pytest.mark.parametrize("view", [explore.weights, explore.growth, explore.terms], ids=lambda view: view.__name__)
def test_a_log_of_something_else_is_named(view):
    with pytest.raises(UserError, match="ax-mnist-seed0"):
        view(VIEWS[explore.hyperparameters])
