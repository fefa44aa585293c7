import json

import pandas as pd
import pytest
import torch

from jahslib import paths
from jahslib.core.problem import Job
from jahslib.data import registry
from jahslib.errors import UserError
from jahslib.problems import kept_weights
from jahslib.search import triallog
from jahslib.search.runs import run_all
from jahslib.studies import constrained_ea as study
from jahslib.studies import constrained_ea_scripts as scripts

SMALL = {"n_conv_layers": 1, "n_channels_conv_0": 16, "n_fc_layers": 1, "n_channels_fc_0": 16, "batch_size": 64}


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Options of a run in a temporary folder whose `configuration` is a small network."""
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    path = tmp_path / "opt_cfg.json"
    path.write_text(json.dumps(SMALL))

    def options(**changes):
        base = {"profile": "smoke", "device": "cpu", "configuration": str(path), "max_epochs": 2}
        return study.options(**base | changes)

    return options


def results(name):
    return json.loads((paths.results("smoke", study.NOTEBOOK) / name).read_text())


class TestOneConfiguration:
    def test_is_tested_with_the_originals_result_file(self, given):
        trials = scripts.run_configuration(given(final_seeds=2))
        images = len(registry.load("digits", "test").labels)
        assert [len(t.outputs["predictions"]) for t in trials] == [images] * 2
        assert results("result_test.json") == {
            "model_size": trials[0].metrics["params"],
            "precision": pytest.approx(sum(t.metrics["batchwise_precision"] for t in trials) / 2),
            "top3_accuracy": pytest.approx(sum(t.metrics["top3"] for t in trials) / 2),
        }

    def test_is_cross_validated_on_all_folds_of_the_seed(self, given):
        """With the final optimizer, as the original's main script; the folds are those of `--seed`."""
        (trial,) = scripts.run_configuration(given(test=False, seeds=[123]))
        (log,) = study.logs(given()).glob("cv-*-seed123.jsonl")
        made = triallog.read(log).fingerprint["problem"]
        assert (made["split"], made["folds_used"], made["seed"], made["optimizer"]) == ("validation", 3, 123, "adamw")
        assert trial.epochs == 3 * 2
        kept = [trial.metrics[name] for name in ("params", "batchwise_precision", "top3")]
        assert list(results("result_cv.json").items()) == list(
            zip(("model_size", "precision", "top3_accuracy"), kept, strict=True)
        )
        assert not (paths.results("smoke", study.NOTEBOOK) / "result_test.json").exists()

    def test_may_be_larger_than_the_searches_limit(self, given):
        (trial,) = scripts.run_configuration(given(test=False, constraint_max_model_size=100))
        assert trial.metrics["params"] > 100


class TestWeights:
    def test_are_kept_and_give_the_same_metrics_without_training(self, given, tmp_path, monkeypatch):
        o = given(model_path=str(tmp_path / "models" / "one.pt"))
        (trained,) = scripts.run_configuration(o)
        task = study.given_problem(o)
        whole = task.evaluate(Job(trained.configuration, (2,), o.seeds[0]))
        assert trained.metrics == whole.metrics | task.known(trained.configuration) and trained.epochs == 2
        state = torch.load(o.model_path, weights_only=True)
        assert set(state["model"]) and all(isinstance(v, torch.Tensor) for v in state["model"].values())

        monkeypatch.setattr(kept_weights, "train", lambda *args: pytest.fail("trained again"))
        study.check(o)
        (tested,) = scripts.run_configuration(o)
        assert tested.metrics == trained.metrics and tested.outputs == whole.outputs and tested.epochs == 0
        assert results("result_test.json")["top3_accuracy"] == whole.metrics["top3"]

    def test_are_what_is_measured(self, given, tmp_path):
        """Other weights in the file give other predictions."""
        o = given(model_path=str(tmp_path / "one.pt"))
        (before,) = scripts.run_configuration(o)
        other = given(model_path=str(tmp_path / "other.pt"), seeds=[1])
        (after,) = scripts.run_configuration(other)
        assert before.outputs["predictions"] != after.outputs["predictions"]

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"max_epochs": 3}, "holds a training with epochs 2, not 3"),
            ({"seeds": [1]}, "holds a training with seed 0, not 1"),
            ({"final_optimizer": "adam"}, "holds a training with optimizer 'adamw', not 'adam'"),
            ({"configuration": "other"}, "holds a training with configuration"),
        ],
    )
    def test_of_another_training_are_refused_before_anything_runs(self, changes, said, given, tmp_path):
        o = given(model_path=str(tmp_path / "one.pt"))
        task = study.given_problem(o)
        kept_weights.train(task, Job(study.spaces.read(task.space, o.configuration), (2,), 0), tmp_path / "one.pt")
        if "configuration" in changes:
            changes = {"configuration": str(tmp_path / "other.json")}
            (tmp_path / "other.json").write_text(json.dumps(SMALL | {"n_channels_conv_0": 17}))
        with pytest.raises(UserError, match=f"model_path: .*one.pt {said}"):
            study.check(given(model_path=o.model_path, **changes))
        study.check(given(model_path=o.model_path, fresh=True, **changes))

    @pytest.mark.parametrize("content", [b"", b"no weights"])
    def test_in_a_file_that_is_none_are_refused(self, content, given, tmp_path):
        (tmp_path / "one.pt").write_bytes(content)
        with pytest.raises(UserError, match=r"one\.pt is not a readable checkpoint"):
            study.check(given(model_path=str(tmp_path / "one.pt")))


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search of each evolution and of random search: (4 + 3 steps of 2) trainings, and what Hyperband makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAHSLIB_RESULTS", str(tmp_path_factory.mktemp("runs")))
        o = study.options(
            profile="smoke", device="cpu", methods=["ea_hb", "ea", "rs"], epoch_budget=40, settings=[(0.2, 2e4)]
        )
        searches = study.finished(o, run_all(study.searches(o)))
        written = scripts.write_runs(o, searches)
        assert written == scripts.write_runs(o, searches), "names depend on the trials alone"
        yield o, {s.method: s for s in searches}, {f.name: f for f in written}


class TestRunFiles:
    def test_names_say_what_the_originals_say(self, searched):
        o, searches, files = searched
        assert len(files) == 9
        name = scripts.run_name(o, searches["ea_hb"])
        assert name.startswith(
            "popSize_4_numChildren_2_hyperband_True_minPrecision_0.2_maxModelSize_20000.0_seed_0_date_20"
        )
        assert scripts.run_name(o, searches["ea"]).startswith("popSize_4_numChildren_2_hyperband_False_")
        assert {f"automl_run_{name}.json", f"opt_cfg_{name}.json", f"{name}.csv"} <= set(files)

    def test_the_json_has_every_full_training(self, searched):
        o, searches, files = searched
        for s in searches.values():
            run = scripts.run_name(o, s)
            rows = json.loads(files[f"automl_run_{run}.json"].read_text())
            assert [set(row) for row in rows] == [{"configuration", "top3", "precision", "num_params"}] * len(s.full)
            for row, t in zip(rows, s.full, strict=True):
                assert (row["configuration"], row["top3"]) == (t.configuration, t.metrics["top3"])
                assert (row["precision"], row["num_params"]) == (t.metrics["batchwise_precision"], t.metrics["params"])
            assert json.loads(files[f"opt_cfg_{run}.json"].read_text()) == s.incumbent.configuration

    @pytest.mark.parametrize("method", ["ea", "ea_hb"])
    def test_the_csv_has_a_row_a_step(self, searched, method):
        o, searches, files = searched
        s = searches[method]
        table = pd.read_csv(files[f"{scripts.run_name(o, s)}.csv"])
        assert list(table.columns) == ["avg_acc", "best_acc", "avg_prec", "best_prec", "step", "time"]
        assert list(table.step) == list(range(len(table))) and len(table) > 1
        first = sorted(s.full[:4], key=s.problem.rank)
        assert table.avg_acc[0] == pytest.approx(sum(t.metrics["top3"] for t in first) / 4)
        assert table.time[0] == s.full[3].elapsed
        last = sorted(s.full, key=s.problem.rank)[:4]
        assert table.best_acc.iloc[-1] == last[0].metrics["top3"] == s.incumbent.metrics["top3"]
        assert table.avg_prec.iloc[-1] == pytest.approx(sum(t.metrics["batchwise_precision"] for t in last) / 4)
        if method == "ea":
            assert len(table) == 1 + -(-(len(s.full) - 4) // 2)
            assert table.time[1] == s.full[5].elapsed
        else:  # one step of the plan 4@1 -> 2@2 -> 1@4, 3@2 -> 1@4, 3@4
            assert table.time[1] == s.full[min(8, len(s.full) - 1)].elapsed

    def test_random_search_has_no_averages_and_a_row_a_training(self, searched):
        o, searches, files = searched
        s = searches["rs"]
        table = pd.read_csv(files[f"{scripts.run_name(o, s)}.csv"])
        assert list(table.columns) == ["best_acc", "best_prec", "step", "time"] and len(table) == len(s.full)


class TestCourseBohb:
    def test_has_the_courses_space_and_rungs(self):
        o = study.options(profile="paper", data="digits", device="cpu", course_bohb=True)
        run = next(iter(study.course_searches(o)))
        space = run.problem.space
        assert {n: (space[n].lower, space[n].upper) for n in space if n != "batch_size"} == {
            "learning_rate_init": (1e-5, 1.0),
            "n_conv_layers": (1, 3),
            **{f"n_channels_conv_{i}": (512, 2048) for i in range(3)},
        }
        assert space["learning_rate_init"].log and not space["n_channels_conv_0"].log
        assert space["batch_size"].value == 200
        assert (run.problem.fidelity.low, run.problem.fidelity.high, run.optimizer.eta) == (5, 50, 3)
        assert run.problem.constraints == () and run in list(study.planned(o))
        assert {r.method for r in study.planned(study.options(profile="paper", data="digits"))} >= {"ea", "bohb"}
        assert "course" not in {r.method for r in study.planned(study.options(profile="paper", data="digits"))}

    def test_is_searched_and_judged_by_the_studys_limits(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        o = study.options(profile="smoke", device="cpu", course_bohb=True, epoch_budget=12, course_channels=[4, 8])
        histories = run_all(study.course_searches(o))
        ((row),) = scripts.bohb_table(o, histories).itertuples()
        (history,) = histories.values()
        best = max((t for t in history if t.fidelity == 4), key=lambda t: t.metrics["top3"])
        assert row.val_top3 == best.metrics["top3"] and row.params == best.metrics["params"]
        assert row.epochs == sum(t.epochs for t in history) <= 12
        assert row.feasible == (best.metrics["batchwise_precision"] >= 0.2 and best.metrics["params"] <= 2e4)
        widths = [v for k, v in sorted(best.configuration.items()) if k.startswith("n_channels")]
        assert row.widths == "-".join(map(str, widths)) and all(4 <= w <= 8 for w in widths)

    def test_is_an_empty_table_where_it_was_not_run(self):
        assert scripts.bohb_table(study.options(profile="smoke", device="cpu"), {}).empty
