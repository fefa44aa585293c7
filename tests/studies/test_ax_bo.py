"""Study 06: its options, its searches, its final training, its tables."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from jahslib import studies
from jahslib.cli import final_training as cli_final_training
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.errors import UserError
from jahslib.paths import ROOT
from jahslib.search import triallog
from jahslib.search.runs import run_all
from jahslib.studies import ax_bo as study
from jahslib.studies import ax_bo_final as final_training
from jahslib.studies import ax_bo_results as results
from tests.conftest import decisions

# Seconds a test, with every real part but Ax's model: 8 x 8 digits in a small network.
QUICK = {"data": "digits", "network": "lenet300", "networks": ["lenet300"], "trials": 3, "n_init": 3}


def options(**given):
    return study.options(**{"profile": "smoke", "device": "cpu"} | given)


@pytest.fixture
def results_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    return tmp_path


def search(values, method="ax", seed=0, failed=(), seconds=1.0, wait=0.5):
    """A search with these accuracies, two epochs each, that waits for every proposal."""
    history, elapsed = History(), 0.0
    for value in values:
        id = history.ask(
            suggestion := Suggestion({"lr": 0.01 * (len(history) + 1), "momentum": 0.5, "weight_decay": 1e-5}, 2)
        )
        elapsed += wait + seconds
        ok = id not in failed
        trial = Trial(
            **vars(suggestion),
            id=id,
            status="ok" if ok else "failed",
            metrics={"top1": value} if ok else {},
            curve={"train_loss": [2.0, 1.0]} if ok else {},
            epochs=2,
            seconds=seconds,
            elapsed=elapsed,
            asked=id + 1,
        )
        history.finish(trial)
    return study.Search(method, seed, history, study.problem(options(), "mnist5k", seed, method))


class TestOptions:
    @pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
    def test_every_profile_resolves(self, profile):
        assert options(profile=profile).profile == profile

    def test_the_paper_profile_is_the_originals_scale(self):
        o = options(profile="paper")
        assert (o.network, o.trials, o.max_epochs, o.batch_size) == ("alexnet", 20, 20, 128)
        assert set(o.data) == {"mnist", "cifar10", "cifar100"} and o.per_class is None and o.snapshot_every == 5

    def test_precedence_is_profile_then_cfg_then_set_then_named(self, tmp_path):
        path = tmp_path / "run.yml"
        path.write_text("NUM_EPOCH: 3\nTRIALS: 7\nWD: 1e-4\nDATASET_NAME: digits\n")
        o = options(cfg=str(path), set="TRIALS 8 LR 0.02", network="lenet300", lr=0.03)
        assert (o.max_epochs, o.trials, o.weight_decay, o.data, o.lr) == (3, 8, 1e-4, ("digits",), 0.03)
        assert options().max_epochs == 2

    def test_a_file_with_the_originals_nested_keys(self, tmp_path, caplog):
        path = tmp_path / "alexnet_cfg.yml"
        path.write_text(
            "DATASET_NAME: digits\nNET_ARCH: lenet300\nSNAPSHOT: true\nSNAPSHOT_INTERVAL: 2\nVERBOSE_INTERVAL: 100\n"
            "TRAIN: {LR: 1e-3, BATCH_SIZE: 64, SCHEDULER_TYPE: step}\nVALID: {BATCH_SIZE: 256}\nMETERS: [loss]\n"
        )
        o = options(cfg=str(path), set="TRAIN.LR 0.02 TRAIN.SCHEDULER_TYPE plateau")
        assert (o.data, o.network, o.snapshot, o.snapshot_every) == (("digits",), "lenet300", True, 2)
        assert (o.lr, o.batch_size, o.schedule) == (0.02, 64, "plateau")
        assert all(f"{key} changes nothing here" in caplog.text for key in ("VERBOSE_INTERVAL", "VALID.BATCH_SIZE"))
        with pytest.raises(UserError, match=r"set: unknown key 'TRAIN.LRS'; did you mean 'train.lr"):
            options(set="TRAIN.LRS 0.1")

    def test_snapshots_are_switched_off_or_counted(self):
        assert options(set="SNAPSHOT False").snapshot is False
        assert (o := options(set="SNAPSHOT 3")).snapshot is True and o.snapshot_every == 3
        with pytest.raises(UserError, match="snapshot_every: 0; give at least 1"):
            options(set="SNAPSHOT 0")

    def test_the_training_to_be_tested_is_an_option_like_any_other(self):
        """The original's test refused it: its cfg had no such key."""
        o = options(set="PRE_TRAINED_ID abc PRE_TRAINED_EPOCH 19")
        assert (o.pre_trained_id, o.pre_trained_epoch) == ("abc", 19)

    def test_another_data_set_brings_its_number_of_classes(self):
        """In the original --set DATASET_NAME kept 100."""
        o = options(set="DATASET_NAME retinadigits")
        assert study.problem(o, o.data[0], 0).classes == 5

    def test_use_gpu_takes_0_and_1(self):
        """The original refused both: a whole number is not a bool."""
        assert options(use_gpu=0, device="auto").device == "cpu"
        with pytest.raises(UserError, match="use_gpu: no CUDA device 99 here"):
            options(use_gpu=1, gpu_id=99)

    def test_the_gpu_is_chosen_by_number(self, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
        assert options(use_gpu=True, gpu_id=1).device == "cuda:1"
        assert options(device="auto").device == "cuda" and options(use_gpu=False).device == "cpu"

    def test_the_data_folder_is_an_option(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_DATA", "before")
        options(dataset_dir=str(tmp_path))
        assert os.environ["JAHSLIB_DATA"] == str(tmp_path)
        with pytest.raises(UserError, match="dataset_dir: no folder"):
            options(dataset_dir=str(tmp_path / "nowhere"))

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"methods": ["axe"]}, "methods: 'axe' is unknown; choose from ax, rs"),
            ({"seeds": []}, "seeds: none given"),
            ({"trial": 3}, "'trial' is unknown; did you mean 'trials'"),
            ({"momentum": 1.0}, "momentum: 1.0 never forgets"),
            ({"lr": 0}, "lr: 0.0 is out of range; give 0 < lr"),
            ({"trials": "ten"}, r"parameter trials is 'ten' \(str\); expected int"),
            ({"set": "NUM_EPOCHS 3"}, "set: unknown key 'NUM_EPOCHS'; did you mean"),
            ({"set": ["NUM_EPOCH", "many"]}, r"set: NUM_EPOCH is 'many' \(str\); expected int"),
        ],
    )
    def test_refuses_bad_options(self, bad, said):
        with pytest.raises(UserError, match=said):
            options(**bad)

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"data": "mnits"}, "no data set is called 'mnits'"),
            ({"network": "vgg"}, "network: 'vgg' is unknown"),
            ({"networks": ["alexnet"], "data": "digits", "network": "lenet300"}, "alexnet needs images of at least 21"),
            ({"bounds": {"momentum": [0, 1.0]}}, "momentum: upper bound 1.0 never forgets"),
            ({"ranges": "huge"}, "ranges: 'huge' is unknown"),
            ({"networks": []}, "networks: none given to choose from"),
            ({"extra_seeds": -1}, "extra_seeds: -1; give at least 0"),
            ({"trials": 0}, "budget: trials=0; give a positive whole number"),
            ({"max_epochs": 0}, "fidelity: epochs"),
            ({"pre_trained_id": "abc"}, "no training 'abc' in snapshot_mnist5k_lenet300; there are: none"),
            ({"early_stopping": {"every": 0}}, "early_stopping: every=0"),
            ({"final_split": "train"}, "split: 'train' is unknown"),
        ],
    )
    def test_refuses_what_cannot_work_before_anything_is_written(self, bad, said, results_folder, monkeypatch):
        monkeypatch.setitem(studies.MODULES, study.NOTEBOOK, "ax_bo")
        with pytest.raises(UserError, match=said):
            studies.check(study.NOTEBOOK, {"profile": "smoke", "device": "cpu"} | bad)
        assert not list(results_folder.iterdir())

    def test_refuses_the_log_of_another_search_unless_fresh(self, results_folder):
        run = next(iter(study.searches(options())))
        triallog.TrialLog(run.log, {"fingerprint": {"seed": 99}}).close({"reason": "optimizer", "budget": {}})
        with pytest.raises(UserError, match="seed: 99 in the log, 0 now"):
            study.check(options())
        study.check(options(fresh=True))


class TestSearches:
    def test_the_compared_methods_share_budget_and_images_and_have_their_own_logs(self):
        runs = list(study.searches(options(profile="cpu", data="digits", network="lenet300")))
        main = [r for r in runs if r.method not in study.EXTRAS]
        assert {r.budget.trials for r in main} == {25} and len({r.log for r in runs}) == len(runs)
        assert {m: sum(r.method == m for r in runs) for m in study.METHODS} == {
            **dict.fromkeys(("ax", "rs", "sobol", "grid", "smac"), 10),
            **dict.fromkeys(study.EXTRAS, 3),
        }
        for seed in (0, 1):
            assert len({r.problem.seed for r in runs if r.seed == seed}) == 1
        assert all(r.problem.split == "validation" for r in runs)

    def test_early_stopping_has_the_same_epochs_and_the_joint_space_is_larger(self):
        o = options()
        runs = {r.method: r for r in study.searches(o)}
        assert runs["ax_stop"].budget.epochs == o.trials * o.max_epochs and runs["ax_stop"].budget.trials is None
        assert set(runs["joint"].problem.space) - set(runs["ax"].problem.space) == {"batch_size", "schedule", "network"}

    def test_a_grid_for_more_trials_is_another_search(self, results_folder):
        logs = {run.log.name for trials in (8, 12) for run in study.searches(options(trials=trials, methods=["grid"]))}
        assert logs == {"grid-mnist5k-seed0-8points.jsonl", "grid-mnist5k-seed0-12points.jsonl"}

    def test_final_trainings_use_all_training_images_and_the_test_split(self):
        assert study.final_problem(options(), "mnist5k").split == "test"

    def test_a_search_can_be_continued_with_more_trials_and_repeats_none(self, results_folder):
        for method in ("ax", "rs", "sobol", "smac"):
            first = run_all(study.searches(options(**QUICK, methods=[method])))
            ((name, short),) = first.items()
            lines = (study.folder(options()) / "logs" / f"{name}.jsonl").read_bytes().splitlines()
            longer = options(**QUICK | {"trials": 6}, methods=[method])
            (long,) = run_all(study.searches(longer)).values()
            after = (study.folder(options()) / "logs" / f"{name}.jsonl").read_bytes().splitlines()
            assert len(short) == 3 and len(long) == 6 and after[: len(lines) - 1] == lines[:-1]
            assert decisions(long)[:3] == decisions(short)


WITH_MODELS = QUICK | {"trials": 9, "n_init": 7}  # two trials after the seven initial ones

ANOTHER_PROCESS = """
from tests.studies.test_ax_bo import *

for run in study.searches(options(**WITH_MODELS)):
    if run.method != "joint":
        print(run.method, decisions(run()))
"""


def test_same_seed_same_trials_in_two_processes(tmp_path, results_folder):
    environment = {"PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT), "JAHSLIB_RESULTS": str(tmp_path / "another")}
    command = [sys.executable, "-W", "ignore", "-c", ANOTHER_PROCESS]
    another = subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True)
    runs = [run for run in study.searches(options(**WITH_MODELS)) if run.method != "joint"]
    here = [f"{run.method} {decisions(run())}" for run in runs]
    assert another.communicate()[0].splitlines() == here and len(here) == len(study.METHODS) - 1


class TestFinalTraining:
    def found(self, results_folder):
        return study.finished(o := options(**QUICK, methods=["rs"]), run_all(study.searches(o)))

    def test_it_trains_the_best_setting_and_tests_every_snapshot(self, results_folder):
        o = options(**QUICK, methods=["rs"])
        found = self.found(results_folder)
        final = final_training.train(o, found)
        assert final.configuration == found[0].incumbent.configuration and list(final.tested) == [1, 2]
        assert final.place.parent == study.folder(o) / "experiment" / "snapshot_digits_lenet300"
        table = results.snapshots_table(final)
        assert table.epoch.tolist() == [1, 2] and table["train/loss"].notna().all()

    def test_a_setting_given_by_name_takes_the_originals_defaults_for_the_rest(self, results_folder):
        o = options(**QUICK, methods=["rs"], lr=0.2)
        final = final_training.train(o, self.found(results_folder))
        assert final.configuration == {"lr": 0.2, "momentum": 0.9, "weight_decay": 1e-5}

    def test_an_id_goes_on_where_it_stopped(self, results_folder):
        o = options(**QUICK, methods=["rs"])
        first = final_training.train(o, self.found(results_folder))
        longer = replace(o, pre_trained_id=first.place.name, final_epochs=4)
        study.check(longer)
        final = final_training.train(longer, self.found(results_folder))
        assert final.configuration == first.configuration and list(final.tested) == [1, 2, 3, 4]
        assert final.tested[2] == first.tested[2]
        again = final_training.train(replace(longer, pre_trained_epoch=2), self.found(results_folder))
        assert again.tested == final.tested

    def test_an_id_of_another_network_or_epoch_is_refused_at_the_door(self, results_folder):
        o = options(**QUICK, methods=["rs"])
        name = final_training.train(o, self.found(results_folder)).place.name
        with pytest.raises(
            UserError, match=f"no training '{name}' in snapshot_mnist5k_lenet300: it is one of lenet300 on digits"
        ):
            study.check(options(pre_trained_id=name))
        with pytest.raises(UserError, match=f"{name} has no snapshot after epoch 7; there are: 1, 2"):
            study.check(replace(o, pre_trained_id=name, pre_trained_epoch=7))

    def test_held_out_images_are_measured_on_the_way_if_asked_for(self, results_folder):
        o = options(**QUICK, methods=["rs"], final_split="validation", valid_interval=2)
        table = results.snapshots_table(final_training.train(o, self.found(results_folder)))
        assert table["valid/label_accuracy"].notna().tolist() == [False, True]


class TestWithoutSearches:
    """The original's train.py and test.py."""

    SET = "DATASET_NAME digits NET_ARCH lenet300 TRAIN.LR 0.2 NUM_EPOCH 2 SNAPSHOT_INTERVAL 1".split()

    def run(self, capsys, *words):
        code = cli_final_training.main(list(words))
        return code, capsys.readouterr()

    def test_a_setting_is_trained_and_its_snapshots_tested_by_id_and_epoch(self, tmp_path, capsys):
        code, said = self.run(capsys, "train", "-e", str(tmp_path), "--use-gpu", "0", "--set", *self.SET)
        place, *epochs = said.out.splitlines()
        assert code == 0 and Path(place).parent == tmp_path / "snapshot_digits_lenet300"
        made = json.loads((Path(place) / "made_of.json").read_text())
        assert made["configuration"] == {"lr": 0.2, "momentum": 0.9, "weight_decay": 1e-5}
        assert not list(tmp_path.rglob("*.jsonl"))  # nothing was searched
        where = ["-e", str(tmp_path), "-i", Path(place).name, "-u", "0", "-s", *self.SET]
        assert self.run(capsys, "test", *where, "-p", "2")[1].out.splitlines() == [place, epochs[1]]
        assert self.run(capsys, "test", *where)[1].out.splitlines() == [place, *epochs]

    def test_the_cfg_kept_beside_the_snapshots_trains_the_same_again(self, tmp_path, results_folder):
        given = {"bounds": {"lr": (0.01, 0.3)}, "per_class": 30, "lr": 0.2, "schedule": "step", "seeds": [3]}
        first = final_training.train(options(**QUICK | given, experiment_dir=str(tmp_path / "a")))
        (file,) = first.place.glob(f"{first.place.name}_cfg.yml")
        # Whatever the profile it is read in: all that the training depends on is in it.
        o = options(profile="paper", cfg=str(file), experiment_dir=str(tmp_path / "b"))
        assert (o.data, o.per_class, o.seeds, o.momentum) == (("digits",), 30, (3,), 0.9)
        again = final_training.train(o)
        assert again.place.name == first.place.name and again.tested == first.tested
        made = [json.loads((f.place / "made_of.json").read_text()) for f in (first, again)]
        assert made[0] == made[1]
        assert (again.place / file.name).read_text() == file.read_text()
        assert final_training.train(o).tested == first.tested  # continued, with nothing left to do

    def test_no_limit_of_a_profile_comes_back(self, tmp_path, results_folder):
        """The smoke profile has its own `per_class`."""
        o = replace(options(**QUICK), per_class=None, lr=0.1, experiment_dir=str(tmp_path))
        final = final_training.train(o)
        (file,) = final.place.glob("*_cfg.yml")
        assert options(cfg=str(file)).per_class is None

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["test"], "test: no --pre-trained-id; give"),
            (["train", "--set", "LR"], "set: 'LR' has no value"),
            (["train", "--set", "TRAIN.RATE", "1"], "set: unknown key 'TRAIN.RATE'"),
            (["test", "-i", "abc"], "no training 'abc' in snapshot_mnist5k_lenet300; there are: none"),
            (["train", "-i", "abc", "-p", "x"], "-p/--pre-trained-epoch: invalid int value: 'x'"),
            (["run"], "task: invalid choice: 'run'"),
        ],
    )
    def test_refuses_in_one_line_and_writes_nothing(self, words, said, results_folder, capsys):
        code, found = self.run(capsys, *words)
        assert code == 2 and said in found.err and found.err.count("\n") == 1
        assert not list(results_folder.iterdir())


def finals(searches, value):
    return {study.key(s): [Trial({}, 2, epochs=2, metrics={"top1": value(s)})] for s in searches}


class TestResults:
    def test_the_alexnet_row_is_the_originals(self):
        table = results.parameters_table().set_index("network")
        assert table.loc["alexnet"].tolist()[:2] == [20_713_380, 20_344_650]

    @pytest.mark.parametrize(
        ("value", "text"), [(0, "0"), (0.0344, "0.0344"), (5.07e-5, "5.07·10⁻⁵"), (1e-6, "1·10⁻⁶")]
    )
    def test_small_values_are_shown_as_powers_of_ten(self, value, text):
        assert results.shown(value) == text

    def test_choosing_is_what_a_search_took_beyond_training_the_first_left_out(self):
        assert results.choosing(search([0.1, 0.2, 0.3], wait=0.25).history) == pytest.approx([0.25, 0.25])

    def test_choosing_leaves_out_what_a_resumed_search_proposes_again(self):
        history = search([0.1, 0.2, 0.3, 0.4], wait=0.25).history
        for i, trial in enumerate(history.trials):  # killed after the second
            history.trials[i] = replace(trial, finished=trial.elapsed + (100.0 if i >= 2 else 0.0))
        assert results.choosing(history) == pytest.approx([0.25, 0.25])

    def test_methods_are_averaged_over_seeds(self):
        searches = [search([0.5, 0.7], seed=0, failed={0}), search([0.8, 0.9], seed=1)]
        row = results.methods_table(searches, finals(searches, lambda s: 0.6 + 0.2 * s.seed)).iloc[0]
        assert (row["data"], row.n, row.val_top1, row.test_top1) == ("mnist5k", 2, "0.800 ± 0.141", "0.700 ± 0.141")
        assert (row.diverged, row.epochs_search, row.seconds_training) == ("0.5 ± 0.7", 4, 2.0)
        assert row.seconds_a_proposal == 0.5 and row.epochs_final == 4

    def test_a_trial_worse_than_guessing_has_diverged(self):
        assert results.diverged(Trial({}, 2, status="failed"), 10)
        assert results.diverged(Trial({}, 2, curve={"train_loss": [2.3, 2.5]}), 10)
        assert not results.diverged(Trial({}, 2, curve={"train_loss": [2.5, 2.3]}), 10)

    def test_the_bootstrap_pairs_seeds(self):
        searches = [search([0.5], method, seed) for seed in (0, 1, 2) for method in ("ax", "rs")]
        table = results.bootstrap_table(searches, finals(searches, lambda s: s.seed + (s.method == "ax") * 0.01))
        row = table.iloc[0]
        assert (row.pair, row.n, row.difference, row.low, row.high, row.ax_ahead) == (
            "Ax − random",
            3,
            0.01,
            0.01,
            0.01,
            1,
        )
        without = [s for s in searches if s.method == "rs"]
        assert results.bootstrap_table(without, finals(without, lambda s: 0)).empty

    def test_the_curve_is_the_best_so_far_from_the_first_success(self):
        table = results.curves([search([0.3, 0.5, 0.4], failed={0})])
        assert table.top1.tolist() == [0.5, 0.5] and table.trials.tolist() == [2, 3] and table.epochs.tolist() == [4, 6]

    def test_a_claim_that_does_not_hold_stops_the_notebook(self):
        o = options(trials=2)
        results.check_claims(o, [search([0.1, 0.2])], {})
        with pytest.raises(AssertionError, match="overspent"):
            results.check_claims(o, [search([0.1, 0.2, 0.3])], {})
        seen = search([0.1])
        with pytest.raises(AssertionError, match="saw the test split"):
            results.check_claims(o, [replace(seen, problem=replace(seen.problem, split="test"))], {})

    def test_stopping_counts_chains_and_what_was_saved(self):
        history = History()
        for fidelity, parent, final in ((1, None, False), (2, 0, True), (1, None, False), (1, None, False)):
            id = history.ask(suggestion := Suggestion({"lr": 0.1 * len(history)}, fidelity, parent=parent, final=final))
            history.finish(Trial(**vars(suggestion), id=id, metrics={"top1": 0.5}, epochs=1, asked=id + 1))
        found = study.Search("ax_stop", 0, history, study.problem(options(), "mnist5k", 0, "ax_stop"))
        row = results.stopping_table([found]).iloc[0]
        assert (row.configurations, row.stopped, row.epochs, row.epochs_unstopped) == (3, 2, 4, 6)

    def test_records_cover_what_the_paper_quotes(self, results_folder, monkeypatch):
        import re

        from jahslib.reporting.report import Report

        searches = [search([0.5, 0.6], method) for method in study.METHODS]
        tested = finals(searches, lambda s: 0.5)
        record, o = Report(study.NOTEBOOK, "smoke"), options()
        final = final_training.FinalTraining(
            results_folder, o and study.final_problem(o, "mnist5k"), {}, {2: {"top1": 0.5, "top5": 1.0}}
        )
        results.record_values(record, o, searches, tested, final)
        section = (ROOT / "paper" / "study_06.typ").read_text()
        quoted = set(re.findall(r'(?:study-value|raw-value)\((?:"06", )?"(\w+)"\)', section))
        assert quoted and quoted <= set(record._records)
        shown = {
            "methods": results.methods_table(searches, tested),
            "bootstrap": results.bootstrap_table(searches, tested),
            "parameters": results.parameters_table(),
            "space": results.space_table(searches),
            "stopping": results.stopping_table(searches),
        }
        for name, columns in re.findall(r'records-table\(\s*"06",\s*"(\w+)",\s*columns: \((.*?)\n  \)', section, re.S):
            wanted = set(re.findall(r"^    (\w+):", columns, re.M))
            assert wanted <= set(shown[name]), name

    def test_winners_are_written_as_files(self, results_folder):
        from jahslib.reporting.report import Report

        searches = [search([0.5, 0.6], "ax")]
        record, o = Report(study.NOTEBOOK, "smoke"), options()
        final = final_training.FinalTraining(
            results_folder, study.final_problem(o, "mnist5k"), {}, {2: {"top1": 0.5, "top5": 1.0}}
        )
        results.record_values(record, o, searches, finals(searches, lambda s: 0.5), final)
        record.save([])
        found = json.loads((record.results / "opt_cfg_ax_mnist5k_seed0.json").read_text())
        assert found == searches[0].incumbent.configuration
        assert isinstance(results.trials_table(searches), pd.DataFrame)
