"""Notebook 08: which searches it plans."""

import pytest

from jahslib.data import places
from jahslib.errors import UserError
from jahslib.experiments.notebook import check, experiment
from jahslib.problems import lcbench

NOTEBOOK = "08_head_to_head"
SMOKE = {"profile": "smoke", "device": "cpu"}
surrogate = pytest.mark.skipif(not places.at_hand(lcbench.FILE), reason="LCBench's surrogate is not at hand")


@pytest.fixture(scope="module")
def smoke():
    return experiment(NOTEBOOK, SMOKE)


def test_every_method_meets_every_task_that_admits_it(smoke):
    on = {task: {run.method for run in smoke.plan if run.task == task} for task in smoke.TASKS}
    assert set(on) == {"cells-cifar10", "cells-cifar100", "mlp-australian", "mlp-blood_transfusion"}
    flat = set(smoke.METHODS) - set(smoke.HALVING) - {"grammar"}
    assert on["mlp-australian"] == flat and on["cells-cifar10"] == flat | {"grammar"}


def test_all_methods_of_a_task_have_the_same_budget_and_constraints(smoke):
    for task in smoke.TASKS:
        runs = [run for run in smoke.plan if run.task == task]
        assert len({run.budget for run in runs}) == 1
        assert len({tuple(map(str, run.problem.constraints)) for run in runs if run.method != "grammar"}) == 1


def test_the_grammar_searches_the_cells_that_the_others_choose_edge_by_edge(smoke):
    runs = {run.method: run for run in smoke.plan if run.task == "cells-cifar10"}
    assert runs["grammar"].problem == runs["rs"].problem.cells


def test_trained_problems_are_those_of_their_studies(smoke):
    runs = [run for run in smoke.trained_plan if run.task == "constrained_cnn"]
    described = [run.problem.describe() for run in runs]
    assert len(runs) == 8 and all(d == described[0] for d in described) and len(runs[0].problem.constraints) == 2
    seven = experiment("07_constrained_EA", SMOKE)
    assert described[0] == seven.constrained(seed=0).describe()
    assert {run.tested.split for run in smoke.trained_plan} == {"test"}
    assert {run.problem.split for run in smoke.trained_plan} == {"validation"}


def test_changes_to_a_studys_parameters_reach_its_problem():
    found = experiment(NOTEBOOK, SMOKE | {"families": [], "constrained_cnn": {"max_epochs": 7}})
    assert {run.problem.fidelity.high for run in found.trained_plan if run.task == "constrained_cnn"} == {7}
    assert not found.plan


@surrogate
def test_the_whole_comparison_leaves_out_what_tuned_our_defaults():
    found = experiment(NOTEBOOK, {"profile": "cpu", "device": "cpu", "trained": [], "methods": ["rs", "ea_hb"]})
    families = list(found.TASKS.values())
    assert {f: families.count(f) for f in families} == {
        **dict.fromkeys(("lcbench", "lcbench_floor", "lcbench_limit"), 22),
        **{"cells": 3, "mlp": 8, "hpolib": 4},
    }
    assert {run.method for run in found.plan if run.problem.fidelity.low == run.problem.fidelity.high} == {"rs"}
    assert {run.simulated for run in found.timed_plan} == {1, 4}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"methods": ["smac"]}, "methods: 'smac'"),
        ({"methods": []}, "methods: none"),
        ({"families": ["cifar"]}, "families"),
        ({"trained": ["cnn"]}, "trained"),
        ({"families": [], "trained": []}, "families, trained"),
        ({"trainings": 0}, "trainings: 0"),
        ({"growing_convnet": {"per_class": 2}}, "per_class: 2 images a class for 3 folds"),
        ({"seeds": []}, "seeds"),
        ({"epochs": {"cells": 5}}, "epochs"),
        ({"constrained_cnn": {"max_epoch": 3}}, "did you mean 'max_epochs'"),
    ],
)
def test_refuses_what_cannot_work_before_anything_is_written(bad, said, tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    with pytest.raises(UserError, match=said):
        check(NOTEBOOK, SMOKE | bad)
    assert not list(tmp_path.iterdir())
