"""Notebook 07: what its cells plan and refuse."""

import json

import pandas as pd
import pytest

from jahslib.errors import UserError
from jahslib.experiments.notebook import cells, check, experiment
from jahslib.reporting.report import Report
from jahslib.search import triallog
from tests.notebooks.test_growing_bohb import execute

NOTEBOOK = "07_constrained_EA"


def of(**given):
    return experiment(NOTEBOOK, {"profile": "smoke", "device": "cpu"} | given)


class TestPlan:
    @pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
    def test_every_profile_resolves(self, profile):
        made = of(profile=profile)
        assert made.settings.profile == profile and made.settings.left_out == {}

    def test_hyperband_chooses_between_the_two_evolutions_and_says_what_it_leaves_out(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        for hyperband in (True, False):
            made = of(hyperband=hyperband)
            evolutions = {run.method: run.optimizer.hyperband for run in made.plan if "ea" in run.method.split("_")}
            own = "ea_hb" if hyperband else "ea"
            assert evolutions == dict.fromkeys([own, f"mended_{own}"], hyperband)
            assert {run.method for run in made.plan} == {*evolutions, "rs", "bohb", "ax"}
            records = json.loads(Report.of(made.study).save([]).read_text())["records"]
            other = "ea" if hyperband else "ea_hb"
            assert records["left_out"]["value"] == f"methods {other}, mended_{other}"

    def test_all_searches_have_the_same_budget_and_their_own_log(self):
        made = of(seeds=[1, 2], course_bohb=True)
        runs = [*made.plan, *made.other_plan, *made.course_plan]
        assert len(runs) == 14 + 1 + 2
        assert len({run.budget for run in runs}) == 1 and len({run.log for run in made.study.planned}) == len(runs)

    def test_bohb_is_not_told_of_the_precision_floor_and_the_others_are(self):
        for run in of().plan:
            named = {c.metric for c in run.problem.constraints}
            assert named == ({"params"} if run.method == "bohb" else {"params", "batchwise_precision"})
            assert {c.metric for c in run.judged.constraints} == {"params", "batchwise_precision"}

    def test_folds_follow_the_seed_and_are_those_of_all_methods(self):
        for run in of(seeds=[1, 2]).plan:
            assert run.problem.seed == run.judged.seed == run.seed

    def test_incumbents_are_tested_with_the_final_optimizer_under_their_own_constraints(self):
        made = of(other_constraints=[[0.3, 1e4]])
        (other,) = made.other_plan
        assert (other.tested.min_precision, other.tested.max_model_size, other.seed) == (0.3, 1e4, 0)
        for run in [*made.plan, other]:
            assert (run.problem.split, run.problem.optimizer) == ("validation", "adam")
            assert (run.tested.split, run.tested.optimizer, run.tested.seed) == ("test", "adamw", 0)
            assert run.tested.constraints == run.judged.constraints

    def test_the_courses_example_has_its_own_space_and_rungs(self):
        made = of(profile="paper", data="digits", course_bohb=True, seeds=[7])
        (run,) = made.course_plan
        space = run.problem.space
        assert {n: (space[n].lower, space[n].upper) for n in space if n != "batch_size"} == {
            "learning_rate_init": (1e-5, 1.0),
            "n_conv_layers": (1, 3),
            **{f"n_channels_conv_{i}": (512, 2048) for i in range(3)},
        }
        assert space["learning_rate_init"].log and not space["n_channels_conv_0"].log
        assert space["batch_size"].value == 200
        assert (run.problem.fidelity.low, run.problem.fidelity.high, run.optimizer.eta) == (5, 50, 3)
        assert run.problem.constraints == () and run.problem.seed == run.seed == 7
        assert not of(profile="paper", data="digits").course_plan

    def test_reported_configurations_are_trained_in_the_whole_space_for_the_test(self):
        runs = of(retrain={"default": 2, "published 3": 1}).retrainings
        assert [(len(r.optimizer.configurations), r.problem.split) for r in runs.values()] == [(2, "test"), (1, "test")]
        assert all(run.problem.admits(c) for run in runs.values() for c in run.optimizer.configurations)
        assert [(r.problem.min_epochs, r.problem.folds_used) for r in runs.values()] == [(1, 1), (2, 3)]


class TestRefuses:
    @pytest.mark.usefixtures("few_draws")
    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"methods": ["eahb"]}, "methods: 'eahb'"),
            ({"seeds": []}, "seeds: .*give at least one"),
            ({"methods": []}, "methods: none given"),
            ({"methods": ["ea"], "hyperband": True}, "methods: none given; .* ea_hb, mended_ea_hb, rs, bohb, ax"),
            ({"retrain_epochs": 0}, "retrain_epochs: 0"),
            ({"retrain": {"default": 0}}, "retrain: {'default': 0}"),
            ({"retrain": {"row 2": 1}}, "retrain: {'row 2': 1}"),
            ({"final_seeds": 0}, "final_seeds: 0"),
            ({"pop_sizes": 3}, "did you mean 'pop_size'"),
            ({"split": "test"}, "parameter 'split' is unknown"),
            ({"profile": "gpu"}, "profile: 'gpu'"),
            ({"epoch_budget": -5}, "epoch_budget: -5"),
            ({"max_time": 0}, "budget: seconds: 0"),
            ({"max_epochs": 0}, "fidelity: epochs: high: 0"),
            ({"constraint_min_precision": 1.5}, "min_precision: 1.5"),
            ({"constraint_max_model_size": 10}, "none of 10,000 random configurations has at most 10 parameters"),
            ({"other_constraints": [[0.2, 10]]}, "none of 10,000 random configurations has at most 10 parameters"),
            ({"pop_size": 0}, "pop_size: 0"),
            ({"precision": "recall"}, "precision: 'recall'"),
            ({"final_optimizer": "adan"}, "adan"),
            ({"data": "flowers"}, "'flowers' is unknown"),
            ({"course_bohb": True, "course_channels": [64, 16]}, r"course_channels: \[64, 16\] is no range"),
            ({"course_bohb": True, "course_epochs": [4, 1]}, r"fidelity: epochs 4\.\.1"),
            ({"model_path": "model.pt"}, "model_path: keeps the weights of one configuration"),
        ],
    )
    def test_what_cannot_work_before_anything_is_written(self, bad, said, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        with pytest.raises(UserError, match=said):
            check(NOTEBOOK, {"profile": "smoke", "device": "cpu"} | bad)
        assert not list(tmp_path.iterdir())

    def test_the_log_of_another_search_unless_fresh(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        run = next(r for r in of().plan if r.method == "rs")
        triallog.TrialLog(run.log, {"fingerprint": {"seed": 99}}).close({"reason": "optimizer", "budget": {}})
        with pytest.raises(UserError, match="seed: 99 in the log, 0 now"):
            of().study.check()
        of(fresh=True).study.check()

    def test_nothing_of_the_study_as_it_is_and_writes_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        of().study.check()
        assert not list(tmp_path.iterdir())


def test_an_incumbent_is_judged_by_constraints_that_its_search_ignored(tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    made = of(methods=["bohb"], epoch_budget=16)
    (found,) = made.study.run(made.plan)
    assert found.problem.min_precision == 0.2
    assert found.incumbent == min(found.full, key=found.problem.rank)


def test_the_originals_scripts_leave_their_files(tmp_path, monkeypatch):
    """The whole notebook with one method, where there is nothing for some of its tables."""
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    monkeypatch.setenv("JAHSLIB_RUN", "test")
    (tmp_path / "small.json").write_text(json.dumps({"n_conv_layers": 1, "n_channels_conv_0": 16, "batch_size": 64}))
    given = {"device": "cpu", "methods": ["rs"], "epoch_budget": 8, "max_epochs": 2, "run_files": True}
    given |= {"course_bohb": True, "course_channels": [4, 8], "course_epochs": [1, 2]}
    execute(cells(NOTEBOOK), given | {"configuration": str(tmp_path / "small.json"), "test": False})
    results = tmp_path / "results" / "smoke" / NOTEBOOK
    assert sorted(path.name[:8] for path in (results / "runs").iterdir()) == ["automl_r", "opt_cfg_", "rs_minPr"]
    assert set(json.loads((results / "result_cv.json").read_text())) == {"model_size", "precision", "top3_accuracy"}
    (row,) = pd.read_csv(results / "course_bohb.csv").itertuples()
    assert row.epochs <= 8 and all(4 <= int(width) <= 8 for width in str(row.widths).split("-"))
    (row,) = pd.read_csv(results / "constraints.csv").itertuples()
    assert (row.min_precision, row.max_size) == (0.25, 2e4)  # the main comparison's first row needs its EA-HB
