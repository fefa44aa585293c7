import pickle
import sys

import numpy as np
import pytest

from jahslib.core.problem import Constraint, Job
from jahslib.data import archives, places
from jahslib.errors import UserError
from jahslib.problems import lcbench
from jahslib.problems.lcbench import LCBench
from jahslib.spaces import configurations as spaces

needs_model = pytest.mark.skipif(not places.at_hand(lcbench.FILE), reason="LCBench's surrogate is not at hand")


@pytest.fixture
def runtime():
    pytest.importorskip("onnxruntime")


# Of task 7593 after 52 epochs in the middle of the space.
KNOWN = {
    "time": 854.695,
    "val_accuracy": 56.8809,
    "val_cross_entropy": 1.168,
    "val_balanced_accuracy": 0.645697,
    "test_cross_entropy": 1.77132,
    "test_balanced_accuracy": 0.64587,
}


def drawn(problem, count, seed=0):
    rng = np.random.default_rng(seed)
    return [spaces.sample(problem.space, rng) for _ in range(count)]


@needs_model
@pytest.mark.usefixtures("runtime")
class TestEvaluation:
    def test_a_known_point(self):
        """A mix-up of inputs, tasks or outputs would change it."""
        problem = LCBench("7593")
        middle = {name: problem.space[name].default_value for name in problem.space}
        outcome = problem.evaluate(Job(middle, (52,), seed=0))
        assert outcome.metrics == pytest.approx(KNOWN, rel=1e-3) and outcome.epochs == 52

    def test_one_by_one_as_together_and_after_pickling(self):
        problem = LCBench("189906")
        configurations = drawn(problem, 20)
        together = problem.measure(configurations, 17)
        again = pickle.loads(pickle.dumps(problem))
        for i, configuration in enumerate(configurations):
            metrics = again.evaluate(Job(configuration, (17,), seed=0)).metrics
            assert metrics == pytest.approx({name: values[i] for name, values in together.items()}, rel=1e-3)

    @pytest.mark.parametrize("task", ["146212", "168868"])
    def test_values_stay_within_their_range(self, task):
        measured = LCBench(task).measure(drawn(LCBench(task), 500), 52)
        assert 0 <= measured["val_accuracy"].min() and 50 < measured["val_accuracy"].max() <= 100
        assert 0 <= measured["val_balanced_accuracy"].min() and measured["val_balanced_accuracy"].max() <= 1
        assert measured["time"].min() >= 0

    def test_time_grows_with_epochs_and_a_continued_trial_pays_the_difference(self):
        problem = LCBench()
        some = drawn(problem, 50)
        assert (problem.measure(some, 52)["time"] > problem.measure(some, 5)["time"]).all()
        assert problem.evaluate(Job(some[0], (6, 17), seed=0)).epochs == 11

    def test_another_file_is_refused(self, offline, monkeypatch):
        (offline / "data/lcbench").mkdir()
        (offline / "data" / lcbench.FILE).write_bytes(b"no model")
        with pytest.raises(UserError, match=r"model\.onnx .*expected sha256 b45c"):
            LCBench().measure([], 1)


@pytest.mark.usefixtures("runtime")
def test_a_missing_file_is_downloaded_to_be_compared_with_its_checksum(offline, monkeypatch):
    asked = []

    def download(urls, expected, target):
        asked.append((*urls, expected))
        target.parent.mkdir()
        target.write_bytes(b"no model")

    monkeypatch.setattr(archives, "download", download)
    with pytest.raises(UserError, match=r"model\.onnx .*expected sha256 b45c"):
        LCBench().measure([], 1)
    assert asked == [(lcbench.URL, f"sha256:{lcbench.SHA256}")] and "v1.0.2/lcbench" in lcbench.URL
    assert (offline / "data" / lcbench.FILE).exists()


@pytest.mark.usefixtures("runtime")
def test_a_missing_file_is_named_with_the_places(offline):
    with pytest.raises(UserError, match=r"found no lcbench/model\.onnx in .*; to get it, put the folder lcbench of"):
        LCBench().measure([], 1)


def test_a_missing_package_is_named(offline, monkeypatch):
    (offline / "data/lcbench").mkdir()
    (offline / "data" / lcbench.FILE).write_bytes(b"no model")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install \"jahslib\[lcbench\]"):
        LCBench().measure([], 1)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"task": "1"}, "task '1' is unknown"),
        ({"metric": "time"}, "metric: 'time' is unknown"),
        ({"constraints": [Constraint("params", "<=", 1)]}, "constrained metric 'params' is unknown"),
        ({"constraints": Constraint("train_time", "<=", 1)}, "constraints: Constraint.*train_time"),
        ({"constraints": ["train_time <= 1"]}, "constraints is .*train_time"),
    ],
)
def test_refuses_what_it_does_not_have(bad, said):
    with pytest.raises(UserError, match=said):
        LCBench(**bad)


def test_its_description_tells_tasks_and_constraints_apart():
    limit = Constraint("time", "<=", 100)
    described = [LCBench(), LCBench("7593"), LCBench(constraints=(limit,)), LCBench(metric="val_cross_entropy")]
    assert len({str(problem.describe()) for problem in described}) == 4
    assert len(lcbench.TASKS) == 34
