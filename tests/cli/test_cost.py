"""What trainings will take, foretold from logged trials."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from jahslib.cli import cost
from jahslib.optimizers.random_search import RandomSearch
from jahslib.paths import ROOT
from jahslib.search import Budget, triallog
from jahslib.search.runs import Run
from tests.conftest import Toy

NAME = "90_toy"


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Two searches of ten full trainings of nine epochs each in a study of their own."""
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))

    def made(profile):
        logs = tmp_path / "results" / profile / NAME / "logs"
        budget, problem = Budget(trials=10), Toy()
        return [
            Run(problem, RandomSearch(problem, s), budget, logs / f"{s}.jsonl", s, "rs", NAME, profile) for s in (0, 1)
        ]

    monkeypatch.setattr(cost, "is_described", lambda notebook: notebook == NAME)
    plan(monkeypatch, lambda parameters: made(parameters["profile"]))
    return made


def plan(monkeypatch, made):
    study = lambda notebook, parameters: SimpleNamespace(study=SimpleNamespace(planned=made(parameters)))  # noqa: E731
    monkeypatch.setattr(cost, "experiment", study)


def left():
    return cost.left(NAME, {"profile": "paper"})


def train(run, trials, seconds, device="cpu (1 threads)", worker="pid 1"):
    """Run the search as far as this, and let its trials have taken that many seconds an epoch."""
    replace(run, budget=Budget(trials=trials))()
    records = [json.loads(line) for line in run.log.read_text().splitlines()]
    for record in records:
        if record["kind"] == "trial":
            record |= {"seconds": seconds * record["epochs"], "worker": worker}
        elif record["kind"] == "header":
            record["device"] = device
    run.log.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_nothing_is_known_before_the_first_trial(planned):
    assert left() == cost.Cost(0.0, 180.0)
    assert cost.left("01_unknown", {}) == cost.Cost()


def test_the_rate_is_the_cpu_profiles_and_then_its_own(planned):
    train(planned("cpu")[0], 2, seconds=3.0)
    assert left() == cost.Cost(540.0)
    train(planned("paper")[0], 4, seconds=5.0)
    assert len(triallog.read(planned("paper")[0].log).trials) == 4
    assert left() == cost.Cost((180 - 36) * 5.0)
    for run in planned("paper"):
        run()
    assert left() == cost.Cost()


@pytest.mark.parametrize("elsewhere", [{"device": "NVIDIA H200"}, {"worker": "simulated"}])
def test_what_a_gpu_or_a_simulated_clock_took_says_nothing_of_a_cpu(planned, elsewhere):
    train(planned("cpu")[0], 2, seconds=3.0, **elsewhere)
    assert left() == cost.Cost(0.0, 180.0)
    train(planned("cpu")[1], 2, seconds=2.0)
    assert left() == cost.Cost(360.0)


def test_a_time_limit_bounds_what_a_search_takes(planned, monkeypatch):
    runs = [replace(run, budget=Budget(trials=10, seconds=60.0)) for run in planned("paper")]
    plan(monkeypatch, lambda parameters: runs)
    assert left() == cost.Cost(120.0)
    train(planned("cpu")[0], 2, seconds=3.0)
    assert left() == cost.Cost(120.0)


def test_a_study_whose_notebook_says_what_is_run_has_its_plan(tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    found = cost.left("01_growing_bohb", {"profile": "smoke", "device": "cpu"})
    assert found == cost.Cost(0.0, 5 * 12)


def test_a_notebook_may_be_named_by_its_path(tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    parameters = {"profile": "smoke", "device": "cpu"}
    for name in ("01_growing_bohb",):
        whole = cost.left(ROOT / "notebooks" / f"{name}.ipynb", parameters)
        assert whole == cost.left(name, parameters) != cost.Cost()
