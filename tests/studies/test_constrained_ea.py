from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from jahslib import studies
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.errors import UserError
from jahslib.search import triallog
from jahslib.search.runs import run_all
from jahslib.studies import constrained_ea as study
from jahslib.studies import constrained_ea_results as results


def options(**given):
    return study.options(**{"profile": "smoke", "device": "cpu"} | given)


def search(rows, method="ea_hb", seed=0):
    """A search of (top3, precision) full evaluations, each of four epochs."""
    history = History()
    for top3, precision in rows:
        suggestion = Suggestion({"batch_size": 200}, 4)
        id = history.ask(suggestion)
        metrics = {"top3": top3, "batchwise_precision": precision, "macro_precision": precision, "params": 10}
        history.finish(Trial(**vars(suggestion), id=id, metrics=metrics, epochs=4, elapsed=id + 1.0, asked=id + 1))
    return study.Search(method, seed, history, study.problem(options(), seed))


class TestOptions:
    def test_every_profile_resolves(self):
        for profile in ("smoke", "cpu", "paper"):
            assert options(profile=profile).profile == profile

    def test_hyperband_chooses_between_the_two_evolutions(self):
        def methods(hyperband):
            return {run.method for run in study.searches(options(hyperband=hyperband))}

        assert methods(None) - methods(True) == {"ea"} and methods(None) - methods(False) == {"ea_hb"}

    def test_all_searches_have_the_same_budget_and_their_own_log(self):
        runs = [*study.searches(options(seeds=[1, 2])), *study.constraint_searches(options(seeds=[1, 2]))]
        assert len({run.budget for run in runs}) == 1 and len({run.log for run in runs}) == len(runs)

    def test_bohb_is_not_told_of_the_precision_floor_and_the_others_are(self):
        for run in study.searches(options()):
            named = {c.metric for c in run.problem.constraints}
            assert named == ({"params"} if run.method == "bohb" else {"params", "batchwise_precision"})

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"methods": ["eahb"]}, "methods: 'eahb'"),
            ({"seeds": []}, "seeds: none"),
            ({"methods": []}, "methods: none given"),
            ({"settings": []}, "settings: none given"),
            ({"retrain_epochs": 0}, "retrain_epochs: 0; give at least 1"),
            ({"retrain": {"default": 0}}, "retrain: 0 trainings of default"),
            ({"pop_sizes": 3}, "did you mean 'pop_size'"),
            ({"profile": "gpu"}, "profile: 'gpu'"),
        ],
    )
    def test_refuses_bad_options(self, bad, said):
        with pytest.raises(UserError, match=said):
            options(**bad)

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"epoch_budget": -5}, "budget: epochs=-5"),
            ({"max_time": 0}, "budget: seconds=0"),
            ({"max_epochs": 0}, "fidelity: epochs 1..0"),
            ({"constraint_min_precision": 1.5}, "constraint_min_precision: 1.5"),
            ({"constraint_max_model_size": 10}, "none of 10,000 random configurations has at most 10 parameters"),
            ({"pop_size": 0}, "pop_size=0"),
            ({"data": "flowers"}, "no data set is called 'flowers'"),
            ({"course_bohb": True, "course_channels": [64, 16]}, r"course_channels: \[64, 16\] is no range"),
            ({"course_bohb": True, "course_epochs": [4, 1]}, r"fidelity: epochs 4\.\.1"),
        ],
    )
    def test_refuses_what_cannot_work_before_anything_is_written(self, bad, said, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        with pytest.raises(UserError, match=said):
            studies.check(study.NOTEBOOK, {"profile": "smoke", "device": "cpu"} | bad)
        assert not list(tmp_path.iterdir())

    def test_refuses_the_log_of_another_search_unless_fresh(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        run = next(r for r in study.searches(options()) if r.method == "rs")
        triallog.TrialLog(run.log, {"fingerprint": {"seed": 99}}).close({"reason": "optimizer", "budget": {}})
        with pytest.raises(UserError, match="seed: 99 in the log, 0 now"):
            study.check(options())
        study.check(options(fresh=True))

    def test_admits_the_study_as_it_is_and_writes_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        study.check(options())
        assert not list(tmp_path.iterdir())


class TestResults:
    def test_precision_caps_are_the_originals(self):
        table = results.caps([4, 16, 64, 128, 160, 200, 240, 280, 290, 300, 340]).round(3)
        assert list(table.highest_batchwise_precision) == [
            *[0.059, 0.092, 0.225, 0.383, 0.446, 0.516, 0.585, 0.709, 0.779, 0.792, 1.0]
        ]

    def test_the_trajectory_follows_the_feasible_first_order(self):
        course = results.trajectory(search([(0.9, 0.0), (0.5, 0.3), (0.7, 0.25), (0.6, 0.1)]), pop_size=2)
        assert list(course.best_acc) == [0.9, 0.5, 0.7, 0.7]
        assert list(course.avg_acc) == pytest.approx([0.9, 0.7, 0.6, 0.6])
        assert list(course.epochs) == [4, 8, 12, 16] and list(course.time) == [1, 2, 3, 4]
        assert list(course.columns[:6]) == ["avg_acc", "best_acc", "avg_prec", "best_prec", "step", "time"]

    def test_mcnemar_by_hand(self):
        """b = 9, c = 1: (|9 - 1| - 1)^2 / 10 = 4.9, beyond 3.841."""
        labels = np.zeros(20, int)
        one, other = labels.copy(), labels.copy()
        other[:9], one[9] = 1, 1
        row = results.mcnemar_table(labels, {"ea_hb": one, "rs": other}).iloc[0]
        assert row.statistic == pytest.approx(4.9) and row.significant and row.pair == "EA-HB vs RS"
        assert (row.only_first_right, row.only_second_right, row.reported_statistic) == (9, 1, 6.56)

    def test_methods_are_averaged_over_seeds_and_final_trainings_within_one(self):
        searches = [search([(0.5, 0.3)], seed=0), search([(0.7, 0.3)], seed=1)]
        names = ("top3", "top3_without_leaked", "batchwise_precision", "macro_precision")
        tests = {
            ("ea_hb", s): [Trial({}, 4, epochs=4, metrics=dict.fromkeys(names, v)) for v in values]
            for s, values in ((0, (0.4, 0.6)), (1, (0.8, 0.8)))
        }
        row = results.methods_table(searches, tests).iloc[0]
        assert row.val_top3 == "0.600 ± 0.141" and row.test_top3 == "0.650 ± 0.212" and row.epochs_final == 16
        assert row.reported_test_top3 == 0.891

    @pytest.mark.parametrize("with_main", [True, False])
    def test_a_row_has_the_constraints_of_its_own_search(self, with_main):
        """Also where the main comparison had no EA-HB, whose search is the first row's."""
        o = options(profile="cpu", max_epochs=4)
        wanted = o.settings if with_main else o.settings[1:]
        winners = [
            replace(search([(0.5, 0.3)]), problem=study.problem(o, 0, min_precision=floor, max_model_size=size))
            for floor, size in wanted
        ]
        tests = [[Trial({}, 4, metrics={"batchwise_precision": 0.5, "top3": 0.5})] for _ in wanted]
        table = results.constraints_table(o, winners, tests)
        assert list(zip(table.min_precision, table.max_size, strict=True)) == list(wanted)
        assert table.reported_max_size.iloc[0] == (2e7 if with_main else 5e7)

    def test_a_reported_row_stands_beside_its_own_constraint_alone(self):
        """Whatever the order: of the same limits, or of those that the profile scaled down to these."""
        wanted = {(0.42, 2e7): 1897658, (0.31, 2e5): 2251076, (0.30, 4e4): 2021579, (0.35, 2e5): None}
        o = options(profile="cpu", max_epochs=4, settings=tuple(wanted))
        winners = [
            replace(search([(0.5, 0.3)]), problem=study.problem(o, 0, min_precision=floor, max_model_size=size))
            for floor, size in wanted
        ]
        tests = [[Trial({}, 4, metrics={"batchwise_precision": 0.5, "top3": 0.5})] for _ in wanted]
        table = results.constraints_table(o, winners, tests)
        found = [None if pd.isna(value) else int(value) for value in table.reported_params]
        assert found == list(wanted.values())

    def test_a_claim_that_does_not_hold_stops_the_notebook(self):
        with pytest.raises(AssertionError, match="overspent"):
            results.check_claims(options(epoch_budget=10), [search([(0.5, 0.3)] * 3)], {}, {})


class TestFresh:
    def test_what_planned_has_started_over_is_not_started_over_again(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        o = options(fresh=True, methods=("ea_hb",), epoch_budget=16, retrain={})
        for _ in range(2):
            before = {file.name: file.read_bytes() for file in study.log_files(o)}
            histories = run_all(study.planned(o), fresh=True)
            planned = {file.name: file.read_bytes() for file in study.log_files(o)}
            assert len(planned) == len(o.settings) and not set(before.values()) & set(planned.values())
        swept, _ = study.run_constraint_sweep(o, study.finished(o, histories))
        assert len(swept) == len(o.settings)
        assert planned.items() <= {file.name: file.read_bytes() for file in study.log_files(o)}.items()


class TestConfigurationFile:
    @pytest.mark.parametrize(("content", "said"), [(None, "no file"), ("{", "not JSON"), ('{"depth": 3}', "'depth'")])
    def test_refuses_what_is_no_configuration_before_anything_is_trained(self, content, said, tmp_path):
        path = tmp_path / "opt_cfg.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(UserError, match=said):
            study.check(options(configuration=str(path)))

    @pytest.mark.parametrize("given", [{}, {"configuration": "opt_cfg.json", "test": False}])
    def test_weights_are_of_one_configuration_on_the_test_split(self, given):
        with pytest.raises(UserError, match="model_path: keeps the weights of one configuration on the test split"):
            options(model_path="model.pt", **given)

    def test_no_final_training_is_refused(self):
        with pytest.raises(UserError, match="final_seeds: 0; give at least 1"):
            options(final_seeds=0)
