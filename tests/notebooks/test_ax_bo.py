"""Notebook 06: what its cells plan and refuse, and its final training."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jahslib.__main__ import main
from jahslib.errors import UserError
from jahslib.experiments.notebook import cells, check, experiment
from jahslib.paths import ROOT
from jahslib.search import triallog
from jahslib.search.runs import run_all
from tests.conftest import decisions

NOTEBOOK = "06_ax_bo"
COMPARED = ("ax", "rs", "sobol", "grid", "smac")

# Seconds a test, with every real part but Ax's model: 8 x 8 digits in a small network.
QUICK = {"data": "digits", "network": "lenet300", "networks": ["lenet300"], "trials": 3, "n_init": 3}


def of(**given):
    return experiment(NOTEBOOK, {"profile": "smoke", "device": "cpu"} | given)


def settings(**given):
    return of(methods=["rs"], **given).settings


@pytest.fixture
def results_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    return tmp_path


class TestSettings:
    @pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
    def test_every_profile_resolves_and_a_whole_run_leaves_nothing_out(self, profile):
        made = of(profile=profile, seeds=(5,)).settings
        assert made.profile == profile and made.left_out == {}

    def test_what_a_run_leaves_out_is_named(self):
        made = of(profile="cpu", methods=["rs", "sobol", "ax", "grid"], networks=["lenet"], data="digits").settings
        assert made.left_out == {
            "methods": ["smac", "ax_stop", "joint"],
            "networks": ["lenet300"],
            "data": ["mnist", "cifar10-rebuilt"],
        }

    def test_the_paper_profile_is_the_originals_scale(self):
        s = settings(profile="paper")
        assert (s.network, s.trials, s.max_epochs, s.batch_size) == ("alexnet", 20, 20, 128)
        assert set(s.data) == {"mnist", "cifar10", "cifar100"} and s.per_class is None and s.snapshot_every == 5

    def test_precedence_is_profile_then_cfg_then_set_then_named(self, tmp_path):
        path = tmp_path / "run.yml"
        path.write_text("NUM_EPOCH: 3\nTRIALS: 7\nWD: 1e-4\nDATASET_NAME: digits\n")
        s = settings(cfg=str(path), set="TRIALS 8 LR 0.02", network="lenet300", lr=0.03)
        assert (s.max_epochs, s.trials, s.weight_decay, s.data, s.lr) == (3, 8, 1e-4, ("digits",), 0.03)
        assert settings().max_epochs == 2

    def test_a_file_with_the_originals_nested_keys(self, tmp_path, caplog):
        path = tmp_path / "alexnet_cfg.yml"
        path.write_text(
            "DATASET_NAME: digits\nNET_ARCH: lenet300\nSNAPSHOT: true\nSNAPSHOT_INTERVAL: 2\nVERBOSE_INTERVAL: 100\n"
            "TRAIN: {LR: 1e-3, BATCH_SIZE: 64, SCHEDULER_TYPE: step}\nVALID: {BATCH_SIZE: 256}\nMETERS: [loss]\n"
        )
        found = of(cfg=str(path), set="TRAIN.LR 0.02 TRAIN.SCHEDULER_TYPE plateau", methods=["rs"])
        final = found.final
        assert (final.problem.data, final.problem.network, final.every) == ("digits", "lenet300", 2)
        assert found.setting == {"lr": 0.02}
        assert {(run.problem.batch_size, run.problem.schedule) for run in found.plan} == {(64, "plateau")}
        assert all(f"{key} changes nothing here" in caplog.text for key in ("VERBOSE_INTERVAL", "VALID.BATCH_SIZE"))
        with pytest.raises(UserError, match=r"set: unknown key 'TRAIN.LRS'; did you mean 'train.lr"):
            settings(set="TRAIN.LRS 0.1")

    def test_snapshots_are_switched_off_or_counted(self):
        assert of(set="SNAPSHOT False", methods=["rs"]).final.every == 2  # the last epoch
        assert of(set="SNAPSHOT 3", methods=["rs"]).final.every == 3
        with pytest.raises(UserError, match="snapshot_every: 0"):
            of(set="SNAPSHOT 0", methods=["rs"])

    def test_another_data_set_brings_its_number_of_classes(self):
        """In the original --set DATASET_NAME kept 100."""
        assert of(set="DATASET_NAME retinadigits", methods=["rs"]).plan[0].problem.classes == 5

    def test_use_gpu_takes_0_and_1_and_the_gpu_is_chosen_by_number(self, monkeypatch):
        """The original refused both: a whole number is not a bool."""
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 2)

        def device(**given):
            return of(methods=["rs"], **given).plan[0].problem.device

        assert device(device="auto") == "cuda" and device(device="auto", use_gpu=0) == "cpu"
        assert device(use_gpu=1, gpu_id=1) == device(set="USE_GPU 1 GPU_ID 1") == "cuda:1"
        with pytest.raises(UserError, match="device: no cuda:99 here"):
            device(use_gpu=True, gpu_id=99)

    def test_the_data_folder_is_an_option(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_DATA", "before")
        settings(dataset_dir=str(tmp_path))
        assert os.environ["JAHSLIB_DATA"] == str(tmp_path)
        with pytest.raises(UserError, match="dataset_dir: no folder"):
            settings(dataset_dir=str(tmp_path / "nowhere"))

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"methods": ["axe"]}, "methods: 'axe' is unknown"),
            ({"seeds": []}, "seeds: .*give at least one"),
            ({"trial": 3}, "'trial' is unknown; did you mean 'trials'"),
            ({"split": "test"}, "parameter 'split' is unknown"),
            ({"momentum": 1.0}, "momentum: 1.0"),
            ({"lr": 0}, "lr: 0.0"),
            ({"trials": "ten"}, r"trials: 'ten' \(str\)"),
            ({"set": "NUM_EPOCHS 3"}, "set: unknown key 'NUM_EPOCHS'; did you mean"),
            ({"set": ["NUM_EPOCH", "many"]}, r"set: NUM_EPOCH: 'many' \(str\)"),
            ({"data": "mnits"}, "'mnits' is unknown"),
            ({"network": "vgg"}, "network: 'vgg' is unknown"),
            ({"networks": ["alexnet"], "data": "digits", "network": "lenet300"}, "alexnet needs images of at least 21"),
            ({"bounds": {"momentum": [0, 1.0]}}, "momentum: upper bound: 1.0"),
            ({"ranges": "huge"}, "ranges: 'huge'"),
            ({"networks": []}, "networks: none given to choose from"),
            ({"joint": ["depth"]}, "joint: 'depth' is unknown"),
            ({"extra_seeds": -1}, "extra_seeds: -1"),
            ({"trials": 2}, "trials: 2"),
            ({"max_epochs": 0}, "max_epochs: 0"),
            ({"pre_trained_id": "abc"}, "no training 'abc' in snapshot_mnist5k_lenet300; there are: none"),
            ({"early_stopping": {"every": 0}}, "early_stopping: every=0"),
            ({"final_split": "train"}, "final_split: 'train'"),
        ],
    )
    def test_refuses_what_cannot_work_before_anything_is_written(self, bad, said, results_folder):
        with pytest.raises(UserError, match=said):
            check(NOTEBOOK, {"profile": "smoke", "device": "cpu"} | bad)
        assert not list(results_folder.iterdir())

    def test_refuses_the_log_of_another_search_unless_fresh(self, results_folder):
        run = of().plan[0]
        triallog.TrialLog(run.log, {"fingerprint": {"seed": 99}}).close({"reason": "optimizer", "budget": {}})
        with pytest.raises(UserError, match="seed: 99 in the log, 0 now"):
            of().study.check()
        of(fresh=True).study.check()


class TestSearches:
    def test_the_compared_methods_share_budget_and_images_and_have_their_own_logs(self):
        found = of(profile="cpu", data="digits", network="lenet300")
        runs, counts = found.plan, {"ax_stop": 3, "joint": 3}
        main = [r for r in runs if r.method in COMPARED]
        assert {r.budget.trials for r in main} == {25} and len({r.log for r in runs}) == len(runs)
        assert {m: sum(r.method == m for r in runs) for m in found.METHODS} == dict.fromkeys(COMPARED, 10) | counts
        for seed in (0, 1):
            assert {r.problem.seed for r in runs if r.seed == seed} == {seed}
        assert all(r.problem.split == "validation" for r in runs)

    def test_every_data_set_is_searched(self):
        runs = of(data=["digits", "mnist5k"], methods=["rs", "grid"]).plan
        assert [(r.problem.data, r.method) for r in runs] == [
            (data, method) for data in ("digits", "mnist5k") for method in ("rs", "grid")
        ]
        assert runs[0].log.name == "rs-digits-seed0.jsonl"

    def test_further_data_sets_have_the_first_seeds_and_no_extensions(self):
        runs = of(profile="cpu", data=["digits", "mnist5k"], network="lenet300", networks=["lenet300"]).plan
        further = [(r.method, r.seed) for r in runs if r.problem.data == "mnist5k"]
        assert sorted(further) == sorted((method, seed) for method in COMPARED for seed in range(5))

    def test_early_stopping_has_the_same_epochs_and_the_joint_space_is_larger(self):
        found = of()
        runs = {r.method: r for r in found.plan}
        assert runs["ax_stop"].budget.epochs == 10 and runs["ax_stop"].budget.trials is None
        assert runs["ax_stop"].problem.fidelity.low == 1 and runs["ax"].problem.fidelity.low == 2
        assert runs["ax_stop"].optimizer.early_stopping and not runs["ax"].optimizer.early_stopping
        assert set(runs["joint"].problem.space) - set(runs["ax"].problem.space) == {"batch_size", "schedule", "network"}

    def test_a_grid_for_more_trials_is_another_search(self):
        logs = {run.log.name for trials in (8, 12) for run in of(trials=trials, methods=["grid"]).plan}
        assert logs == {"grid-mnist5k-seed0-8points.jsonl", "grid-mnist5k-seed0-12points.jsonl"}

    def test_final_trainings_use_all_training_images_and_the_test_split(self):
        assert {run.tested.split for run in of(seeds=[0, 1]).plan} == {"test"}
        assert of().final.problem.split == "test"

    def test_a_search_can_be_continued_with_more_trials_and_repeats_none(self, results_folder):
        for method in ("ax", "sobol"):
            (run,) = of(**QUICK, methods=[method]).plan
            (short,) = run_all([run]).values()
            lines = run.log.read_bytes().splitlines()
            (long,) = run_all(of(**QUICK | {"trials": 5}, methods=[method]).plan).values()
            after = run.log.read_bytes().splitlines()
            assert len(short) == 3 and len(long) == 5 and after[: len(lines) - 1] == lines[:-1]
            assert decisions(long)[:3] == decisions(short)


WITH_MODELS = QUICK | {"trials": 5, "methods": ["ax", "ax_stop", "smac"]}  # two trials after the initial ones

ANOTHER_PROCESS = """
from tests.notebooks.test_ax_bo import *

for run in of(**WITH_MODELS).plan:
    print(run.method, decisions(run()))
"""


def test_same_seed_same_trials_in_two_processes(tmp_path, results_folder):
    environment = {"PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT), "JAHSLIB_RESULTS": str(tmp_path / "another")}
    program = [sys.executable, "-W", "ignore", "-c", ANOTHER_PROCESS]
    another = subprocess.Popen(program, env=os.environ | environment, stdout=subprocess.PIPE, text=True)
    here = [f"{run.method} {decisions(run())}" for run in of(**WITH_MODELS).plan]
    assert another.communicate()[0].splitlines() == here and len(here) == 3


class TestFinalTraining:
    """The original's train.py and test.py."""

    SET = "DATASET_NAME digits NET_ARCH lenet300 TRAIN.LR 0.2 NUM_EPOCH 2 SNAPSHOT_INTERVAL 1".split()

    def run(self, capsys, *words):
        code = main(["final", *words])
        return code, capsys.readouterr()

    def test_a_setting_is_trained_and_its_snapshots_tested_by_id_and_epoch(self, tmp_path, capsys):
        """The rest of a setting has the original's defaults."""
        code, said = self.run(capsys, "train", "-e", str(tmp_path), "--use-gpu", "0", "--set", *self.SET)
        place, *epochs = said.out.splitlines()
        assert code == 0 and Path(place).parent == tmp_path / "snapshot_digits_lenet300"
        made = json.loads((Path(place) / "made_of.json").read_text())
        assert made["configuration"] == {"lr": 0.2, "momentum": 0.9, "weight_decay": 1e-5}
        assert not list(tmp_path.rglob("*.jsonl"))  # nothing was searched
        where = ["-e", str(tmp_path), "-i", Path(place).name, "-u", "0", "-s", *self.SET]
        assert self.run(capsys, "test", *where, "-p", "2")[1].out.splitlines() == [place, epochs[1]]
        assert self.run(capsys, "test", *where)[1].out.splitlines() == [place, *epochs]

    def test_the_cfg_kept_beside_the_snapshots_trains_the_same_again(self, tmp_path):
        given = {"bounds": {"lr": (0.01, 0.3)}, "per_class": 30, "lr": 0.2, "schedule": "step", "seeds": [3]}

        def train(folder, **given):
            found = of(methods=["rs"], experiment_dir=str(tmp_path / folder), **given)
            return found, found.final.train(found.DEFAULT | found.setting)

        _, first = train("a", **QUICK | given)
        (file,) = first.place.glob(f"{first.place.name}_cfg.yml")
        # Whatever the profile it is read in: all that the training depends on is in it.
        found, again = train("b", profile="paper", cfg=str(file))
        assert (found.settings.data, found.settings.per_class, found.settings.seeds) == (("digits",), 30, (3,))
        assert again.place.name == first.place.name and again.tested == first.tested
        made = [json.loads((trained.place / "made_of.json").read_text()) for trained in (first, again)]
        assert made[0] == made[1]
        assert (again.place / file.name).read_text() == file.read_text()

    def test_no_limit_of_a_profile_comes_back(self, tmp_path):
        """The smoke profile has its own `per_class`."""
        found = of(**QUICK, methods=["rs"], per_class="none", experiment_dir=str(tmp_path))
        (file,) = found.final.train(found.DEFAULT).place.glob("*_cfg.yml")
        assert settings(cfg=str(file)).per_class is None

    def test_an_id_of_another_network_or_epoch_is_refused_at_the_door(self, results_folder):
        found = of(**QUICK, methods=["rs"])
        name = found.final.train(found.DEFAULT).place.name
        assert (results_folder / "results/smoke" / NOTEBOOK / "experiment/snapshot_digits_lenet300" / name).is_dir()
        with pytest.raises(UserError, match=f"no training '{name}' in snapshot_mnist5k_lenet300: it is one of"):
            of(pre_trained_id=name)
        with pytest.raises(UserError, match=f"{name} has no snapshot after epoch 7; there are: 1, 2"):
            of(**QUICK, set=f"PRE_TRAINED_ID {name} PRE_TRAINED_EPOCH 7")

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["test"], "pre_trained_id: none; give"),
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


def test_the_paper_quotes_what_is_recorded():
    """Names of records, and columns of tables, in the section of the paper."""
    section = (ROOT / "paper" / "study_06.typ").read_text()
    folder = ROOT / "results" / "cpu" / NOTEBOOK
    recorded = json.loads((folder / "records.json").read_text())["records"]
    quoted = set(re.findall(r'(?:study-value|raw-value)\((?:"06", )?"(\w+)"\)', section))
    assert quoted and quoted <= set(recorded)
    source = "\n".join(cells(NOTEBOOK))
    for name, columns in re.findall(r'records-table\(\s*"06",\s*"(\w+)",\s*columns: \((.*?)\n  \)', section, re.S):
        header = (folder / recorded[name]["file"]).read_text().partition("\n")[0].split(",")
        shown = {column.removesuffix("_mean") for column in header}
        assert set(re.findall(r"^    (\w+):", columns, re.M)) <= shown, name
        assert f'"{name}"' in source
