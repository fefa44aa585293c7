import json
import subprocess
import sys
from types import SimpleNamespace

import matplotlib

matplotlib.use("agg")

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from jahslib.core.trials import History, Trial
from jahslib.errors import UserError
from jahslib.figures import ax as ax_figures
from jahslib.optimizers.ax import analyses as ax_analyses
from jahslib.optimizers.ax.optimizer import AxBO
from jahslib.optimizers.sobol import Sobol
from jahslib.search import Budget, search
from tests.optimizers.ax.test_ax_optimizer import Curves


def searched(problem, n, fail=()):
    """A history of `n` Sobol points."""
    optimizer, history = Sobol(problem, 0), History()
    for id in range(n):
        suggestion = optimizer.ask(history)
        history.ask(suggestion)
        x = np.log10(suggestion.configuration["lr"]) + 1
        ok = id not in fail
        metrics = {"accuracy": 1 - 0.1 * x * x, "params": 5.0} if ok else {}
        status = "ok" if ok else "failed"
        history.finish(Trial(**vars(suggestion), id=id, status=status, metrics=metrics, asked=id + 1))
    return history


@pytest.fixture(scope="module")
def problem():
    return Curves()


@pytest.fixture(scope="module")
def history(problem):
    return searched(problem, 9, fail={4})


@pytest.fixture(scope="module")
def client(problem, history):
    return ax_analyses.client(problem, history, seed=3, name="study")


@pytest.fixture(scope="module")
def analyses(client, problem):
    return ax_analyses.analyse(client, problem)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


OPEN = """
import json, sys
from ax.api.client import Client
client = Client.load_from_json_file(sys.argv[1])
(next,) = client.get_next_trials(max_trials=1).values()
assert "jahslib" not in sys.modules
table = client.summarize()
print(json.dumps([len(table), table.accuracy.tolist(), client.get_best_parameterization(False)[0], sorted(next)]))
"""


class TestExperiment:
    def test_it_holds_every_trial_and_a_failed_one_as_the_worst(self, client, history):
        table = client.summarize()
        assert len(table) == 9
        told = [t.metrics.get("accuracy", 0.0) for t in history]
        assert table.accuracy.tolist() == pytest.approx(told)
        assert table.lr.tolist() == pytest.approx([t.configuration["lr"] for t in history])

    def test_its_json_file_opens_with_plain_ax_which_goes_on_from_there(self, problem, history, tmp_path):
        made = ax_analyses.client(problem, history, seed=3)
        file = ax_analyses.save(made, tmp_path / "deep" / "search.ax.json")
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", OPEN, str(file)], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr[-2000:]
        count, accuracies, best, names = json.loads(done.stdout.splitlines()[-1])
        assert count == 10 and accuracies[:9] == pytest.approx([t.metrics.get("accuracy", 0.0) for t in history])
        assert names == sorted(problem.space)
        incumbent = max((t for t in history if t.status == "ok"), key=lambda t: t.metrics["accuracy"])
        assert best == pytest.approx(incumbent.configuration)

    def test_the_same_log_gives_the_same_file(self, problem, history, tmp_path):
        files = [ax_analyses.save(ax_analyses.client(problem, history, seed=3), tmp_path / name) for name in "ab"]
        assert files[0].read_bytes() == files[1].read_bytes()

    def test_stages_become_one_trial_with_a_progression(self, tmp_path):
        problem = Curves()
        optimizer = AxBO(problem, 0, n_init=12, early_stopping={"every": 2, "min_curves": 2})
        history = search(problem, optimizer, Budget(trials=14), tmp_path / "log.jsonl", seed=0)
        table = ax_analyses.client(problem, history).summarize()
        assert len(table) == len({t.configuration["lr"] for t in history})
        statuses = table.trial_status.value_counts()
        finals = sum(t.final for t in history)
        assert statuses["COMPLETED"] == finals and statuses["EARLY_STOPPED"] == len(table) - finals

    def test_sqlite_without_its_package_is_refused_by_name(self, problem, history, tmp_path, monkeypatch):
        import ax.api.client  # noqa: F401  (what it imports with the package absent, it would miss in later tests)

        monkeypatch.setitem(sys.modules, "ax.storage.sqa_store.db", None)
        with pytest.raises(UserError, match=r"pip install \"jahslib\[sqlite\]"):
            ax_analyses.client(problem, history, database=tmp_path / "ax.db")
        assert not list(tmp_path.iterdir())

    def test_sqlite_holds_the_experiment(self, problem, history, tmp_path):
        from ax.api.client import Client
        from ax.api.configs import StorageConfig

        file = tmp_path / "ax.db"
        for _ in range(2):  # the second replaces the first
            ax_analyses.client(problem, history, name="study", database=file)
        loaded = Client.load_from_database("study", storage_config=StorageConfig(url=f"sqlite:///{file}"))
        assert len(loaded.summarize()) == 9


class TestAnalyses:
    def test_the_cards_cover_every_parameter_and_pair(self, analyses, history):
        assert set(analyses.contours) == {("lr", "momentum"), ("lr", "weight_decay"), ("momentum", "weight_decay")}
        assert set(analyses.slices) == {"lr", "momentum", "weight_decay"} == set(analyses.sensitivity.parameter_name)
        assert len(analyses.cross_validation) == len(analyses.parallel_coordinates) == 9

    def test_slices_and_contours_hold_the_others_at_the_best_trial(self, analyses):
        """So all of them go through one point, to what the grids' steps allow."""
        best = analyses.best
        slices = [np.interp(best[x], frame[x], frame["mean"]) for x, frame in analyses.slices.items()]
        assert slices == pytest.approx([slices[0]] * 3, abs=0.01)
        assert np.ptp(analyses.slices["lr"]["mean"]) > 0.1, "or one point would be like another"
        for (x, y), frame in analyses.contours.items():
            steps = [np.log(frame[n] / best[n]) if n == "lr" else frame[n] - best[n] for n in (x, y)]
            nearest = np.hypot(*[step / np.ptp(step) for step in steps]).idxmin()
            assert frame["mean"][nearest] == pytest.approx(slices[0], abs=0.05)

    def test_the_surrogate_has_learnt_what_matters(self, analyses, history):
        sizes = analyses.sensitivity.set_index("parameter_name").sensitivity.abs()
        assert sizes.idxmax() == "lr"
        incumbent = max((t for t in history if t.status == "ok"), key=lambda t: t.metrics["accuracy"])
        assert analyses.best["lr"] == pytest.approx(incumbent.configuration["lr"])

    def test_cross_validation_is_in_the_metrics_own_units(self, analyses, history):
        told = sorted(t.metrics.get("accuracy", 0.0) for t in history)
        assert sorted(analyses.cross_validation.observed) == pytest.approx(told)

    def test_too_few_trials_are_refused(self, problem):
        with pytest.raises(UserError, match="at least 3 trials"):
            ax_analyses.analyse(ax_analyses.client(problem, searched(problem, 2)), problem)

    def test_no_global_random_number_is_drawn(self, problem, history):
        torch.manual_seed(5)
        before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        ax_analyses.analyse(ax_analyses.client(problem, history), problem)
        assert torch.equal(before, torch.get_rng_state())
        assert (numpy_before == np.random.get_state()[1]).all()  # noqa: NPY002


class TestFigures:
    def test_contours_have_two_rows_and_mark_the_trials(self, analyses, problem):
        figure = ax_figures.contours(analyses, problem, "accuracy")
        axes = [a for a in figure.axes if a.get_xlabel() in problem.space]
        assert len(axes) == 6 and all(len(a.lines[0].get_xdata()) == 9 for a in axes)
        assert all(a.lines[1].get_xdata()[0] == analyses.best[a.get_xlabel()] for a in axes)
        assert [a.get_xscale() for a in axes[:3]] == ["log", "log", "linear"]

    def test_slices_mark_the_best_trial(self, analyses, problem):
        figure = ax_figures.slices(analyses, problem, "accuracy")
        assert [a.lines[1].get_xdata()[0] for a in figure.axes] == [analyses.best[a.get_xlabel()] for a in figure.axes]

    def test_fit_shows_every_left_out_trial_and_every_parameter(self, analyses):
        left, right = ax_figures.fit(analyses, "accuracy").axes
        assert len(left.containers[0].lines[0].get_xdata()) == 9 and len(right.patches) == 3

    def test_parallel_coordinates_put_ends_and_result_on_unit_axes(self, analyses, problem):
        (axis,) = ax_figures.parallel_coordinates(analyses, problem, "accuracy").axes
        trials = [line.get_ydata() for line in axis.lines if len(line.get_ydata()) == 4]
        assert len(trials) == 9 and np.min(trials) >= 0 and np.max(trials) <= 1
        assert trials[-1][-1] == 1, "the best is drawn last, at the top of the result's axis"

    def test_choices_have_positions(self):
        from jahslib.problems.tuned_network import TunedNetwork

        problem = SimpleNamespace(
            space=TunedNetwork(joint=("network", "batch_size"), networks=("lenet", "alexnet")).space
        )
        column = pd.Series(["alexnet", "lenet", "lenet"])
        units, *ends = ax_figures._scaled(column, problem, "network")
        assert units.tolist() == [1, 0, 0] and ends == ["lenet", "alexnet"]

    def test_trials_over_time_follow_the_best_and_mark_failures(self):
        table = pd.DataFrame({"top1": [0.5, None, 0.4, 0.8]})
        (axis,) = ax_figures.trials_over_time(table, 2, "accuracy").axes
        lines = {line.get_label(): line for line in axis.lines}
        assert lines["best so far"].get_ydata().tolist() == [0.5, 0.5, 0.5, 0.8]
        assert lines["failed"].get_xdata().tolist() == [2]
        assert lines["by the model"].get_xdata().tolist() == [3, 4]


class TestExploring:
    def test_headless_it_is_one_static_figure(self, client, problem, analyses):
        figure = ax_figures.explore(client, problem, analyses, "accuracy")
        assert isinstance(figure, Figure) and not plt.get_fignums(), "an open figure would be shown twice"

    def test_with_a_person_it_is_a_widget_that_redraws(self, client, problem, analyses, monkeypatch):
        widgets = pytest.importorskip("ipywidgets")
        monkeypatch.setattr("jahslib.figures.widgets.interactive", lambda: True)
        drawn = []
        monkeypatch.setattr(ax_figures, "surrogate", lambda *a: drawn.append(a[2:5]) or plt.figure())
        widget = ax_figures.explore(client, problem, analyses, "accuracy")
        assert isinstance(widget, widgets.interactive)
        controls = {c.description: c for c in widget.children[:-1]}
        assert set(controls) == {"x", "y", "lr", "momentum", "weight_decay"}
        assert controls["lr"].value == pytest.approx(analyses.best["lr"])
        controls["x"].value = "weight_decay"
        controls["momentum"].value = 0.25
        widget.update()
        x, y, others = drawn[-1]
        assert (x, y) == ("weight_decay", "momentum") and others["momentum"] == 0.25

    def test_the_surface_is_the_surrogates(self, client, problem, analyses):
        """Far from the trials the standard error is larger than at one."""
        frame = ax_analyses.predicted(client, problem, ("lr", "momentum"), analyses.best, points=5)
        assert len(frame) == 25 and set(frame) == {"lr", "momentum", "mean", "sem"}
        assert frame["lr"].min() == 1e-4 and frame["lr"].max() == 1.0
        at_best = ax_analyses.predicted(client, problem, ("lr", "momentum"), analyses.best, points=25)
        assert at_best["mean"].max() > 0.8 and frame["sem"].min() < frame["sem"].max()
