"""Notebook 05: its settings and configuration files, the pipeline, its time limit, its tables."""

import hashlib
import inspect
import json
import re
import shutil
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from jahslib.analysis import darts as tables
from jahslib.analysis import reported
from jahslib.data import image_files, places, registry
from jahslib.errors import UserError
from jahslib.experiments.darts_options import CONFIGS, ORIGINAL_KEYS, network
from jahslib.experiments.darts_pipeline import (
    hyperband_trials,
    left_behind,
    levels,
    logged_cells,
    retrain_and_keep,
    run_ablation,
    run_cells,
)
from jahslib.experiments.notebook import cells, check, experiment, run_cell
from jahslib.experiments.settings import assigned
from jahslib.figures import darts as cell_figures
from jahslib.models.darts.stacking import from_text, node_probabilities, uniform_probabilities
from jahslib.problems.darts.ablation import ARMS
from jahslib.problems.darts.cell_search import CellsFound
from jahslib.problems.darts.search import Darts
from jahslib.problems.darts.stack_training import load_stack
from jahslib.problems.darts.stacked_cells import StackedCells
from jahslib.search import triallog
from jahslib.spaces import configurations as spaces
from jahslib.training.metrics import top_k_accuracy
from tests.analysis.conftest import backwards

NOTEBOOK = "05_darts_bohb"

# A second a phase, with every real part: 8 x 8 digits in small networks.
QUICK = {
    "dataset": "digits",
    "per_class": 9,
    "search": {"epochs": 2, "batch_size": 16},
    "model": {"n_cells": 2, "cell_out_channels": [4, 4], "use_max_pooling": [True, True], "fc_out_features": [4]},
    "collapse": {"dataset": "digits", "per_class": 6, "epochs": 2},
    "max_mflops": 3.0,
    "total_budget": 6,
}


def of(**given):
    return experiment(NOTEBOOK, {"profile": "smoke", "device": "cpu"} | given)


def quick(**given):
    return of(**QUICK | given)


@pytest.fixture(autouse=True)
def nowhere(tmp_path_factory, monkeypatch):
    """Experiments read finished logs: none of the project's own."""
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path_factory.mktemp("none")))


@pytest.fixture
def results_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    return tmp_path


def fake_retinamnist(path):
    """RetinaMNIST's layout with a few random images."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 30), ("val", 10), ("test", 10)):
        arrays[f"{split}_images"] = rng.integers(0, 255, (n, 28, 28, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(n) % 5)[:, None].astype(np.uint8)
    np.savez(path, **arrays)
    return hashlib.md5(path.read_bytes()).hexdigest()


class TestOptions:
    @pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
    def test_every_profile_resolves(self, profile):
        found = of(profile=profile, dataset="retinadigits")
        assert found.chosen.epochs and found.searched.network["out_channels"] and found.trials > 0

    def test_the_paper_profile_is_the_class_projects_scale(self):
        found = of(profile="paper", dataset="retinadigits")
        o = found.settings
        assert (o.min_budget, o.max_budget, o.total_budget, o.eta, o.n_init) == (5, 20, 300, 2, 5)
        assert (found.SEEDS, o.dataset, o.widths, o.max_cells) == ((2, 3, 4, 5, 6), "retinadigits", (8, 256), 6)
        assert found.PROFILES["paper"]["dataset"] == "retinamnist"
        assert found.trials == 26 and hyperband_trials(300, 5, 20, 3) == 23

    @pytest.mark.parametrize("name", ["default", "acc_config", "f1_config"])
    def test_the_configuration_files_hold_the_class_projects_values(self, name):
        found = of(config_file=name, dataset="retinadigits")
        o, s = found.settings, found.chosen
        assert (s.epochs, s.arch_learning_rate) == ((1, 0.03) if name == "default" else (20, 0.005))
        assert found.example.performance_measure == ("f1" if name == "f1_config" else "acc")
        assert (o.checkpoint_freq, o.num_classes) == (5, 5)
        assert (s.learning_rate, s.momentum, s.weight_decay, s.grad_clip) == (0.005, 0.9, 3e-4, 5)
        assert (s.stopping_after_n_skips, s.early_stopping_threshold, s.focal_loss_gamma) == (2, 0.25, 3.0)
        assert found.searched.network["out_channels"] == (16, 32, 64)
        assert "dataset: retinamnist" in (CONFIGS / f"{name}.yaml").read_text()

    def test_what_the_search_may_be_without_is_none_in_words(self):
        given = {"grad_clip": "none", "learning_rate": "1e-2", "weight_decay": 0}
        found = of(search=given, max_mflops="none", config_file="none")
        s = found.chosen
        assert (s.grad_clip, s.learning_rate, s.weight_decay, found.example.max_mflops) == (None, 0.01, 0, None)
        assert found.settings.config_file is None

    def test_a_copied_file_ranks_between_profile_and_parameters(self, tmp_path):
        path = tmp_path / "mine.yaml"
        shutil.copy(CONFIGS / "f1_config.yaml", path)
        path.write_text(path.read_text().replace("epochs: 20", "epochs: 7").replace("retinamnist", "retinadigits"))
        found = of(config_file=str(path), search={"momentum": 0.5}, performance_measure="acc")
        s = found.chosen
        assert (s.epochs, s.momentum, s.batch_size) == (7, 0.5, 64) and found.example.performance_measure == "acc"
        assert of().chosen.epochs == 2

    def test_the_class_projects_names(self, tmp_path):
        path = tmp_path / "mine.yaml"
        path.write_text(f"out_dir: {tmp_path}/out\ndatasetpath: {tmp_path}\nseed: 4\nmodel: {{use_BN: [true]}}\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JAHSLIB_DATA", "before")
            found = of(config_file=str(path))
        assert found.study.folder == tmp_path / "out" and found.SEEDS == (4,)
        assert {run.optimizer.seed for run in found.study.planned} == {4}

    ORIGINAL = """
        name: acc_config
        dataset: digits
        search_space: NASNetwork
        out_dir: OUT
        optimizer: darts
        save_arch_weights: True
        performance_measure: "f1"
        dataset_meta:
          num_classes: 10
          num_img_channels: 1
        arch_search:
          op_optimizer: "SGD"
          learning_rate: 0.005
          learning_rate_min: 0.001
          momentum: 0.9
          weight_decay: 0.0003
          grad_clip: 5
          arch_optimizer: "Adam"
          arch_learning_rate: 0.02
          arch_weight_decay: 0.001
          checkpoint_freq: 5
          epochs: 3
          batch_size: 64
          apply_early_stopping: True
          stopping_after_n_skips: 3
          early_stopping_threshold: 0.25
        model:
          n_cells: 2
          n_fc_layers: 1
          dropout_rate: 0.1
          fc_out_features: [8, 8, 8]
          cell_out_channels: [4, 4, 8, 8, 8, 8]
          use_max_pooling: [True, True, True, True, False, False]
    """

    def original(self, tmp_path, old="", new=""):
        path = tmp_path / "config.yaml"
        path.write_text(inspect.cleandoc(self.ORIGINAL.replace("OUT", str(tmp_path / "run")).replace(old, new)))
        return str(path)

    def test_a_file_as_the_class_project_nests_it(self, tmp_path):
        """Its keys and their nesting; the numbers of channels and the data are ours."""
        found = of(config_file=self.original(tmp_path), search={"epochs": 2})
        o, s = found.settings, found.chosen
        assert (s.epochs, s.batch_size, s.arch_learning_rate, s.stopping_after_n_skips) == (2, 64, 0.02, 3)
        assert (o.num_classes, o.num_img_channels, o.checkpoint_freq) == (10, 1, 5)
        assert (found.example.performance_measure, found.searched.save_arch_weights) == ("f1", True)
        assert found.searched.network == {"out_channels": (4, 4), "pooling": (True,) * 2, "fc": (8,), "dropout": 0.1}
        found.study.check()
        logs = [run.log for run in found.study.planned]
        assert logs and all(log.parent == tmp_path / "run" / "acc_config" / "logs" for log in logs)

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("num_classes: 10", "num_classes: 5", "num_classes: 5, but digits has 10"),
            ('"SGD"', '"RMSprop"', "search: op_optimizer is 'RMSprop'; there is SGD alone"),
            ("momentum:", "momentun:", "search: 'momentun' is unknown; did you mean 'momentum'"),
            ("num_img_channels:", "num_channels:", "unknown key 'dataset_meta.num_channels'"),
            ("name: acc_config", "name: ../acc", "name: '../acc'"),
        ],
    )
    def test_what_is_wrong_in_such_a_file_is_named(self, old, new, said, tmp_path):
        with pytest.raises(UserError, match=said):
            check(NOTEBOOK, {"profile": "smoke", "config_file": self.original(tmp_path, old, new)})
        assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]

    def test_the_data_folder_by_the_class_projects_name(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_DATA", "before")
        of(datasetpath=str(tmp_path))
        assert places.places()[0] == ("JAHSLIB_DATA", tmp_path)

    def test_a_dead_key_is_said_to_be_dead(self, caplog):
        network({**of().settings.merged("model"), "use_BN": [True] * 6})
        assert "use_BN changes nothing" in caplog.text

    def test_skip_prevention_can_be_switched_off(self):
        found = of(skip_prevention=False)
        assert found.searched.settings.surrogate_schedule == "none"
        tasks = {run.task: run.problem.settings.surrogate_schedule for run in found.variants_plan}
        assert tasks == {"prevented": "class_project", "plain": "none"}

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"methods": ["bohbb"]}, "methods: 'bohbb' is unknown"),
            ({"methods": []}, "methods: none given"),
            ({"seeds": []}, "seeds: "),
            ({"epoch": 3}, "'epoch' is unknown"),
            ({"runtime": 0}, "runtime: 0"),
            ({"max_cells": 7}, "max_cells: 7"),
            ({"surrogate": "both"}, "surrogate: 'both'"),
            ({"optimizer": "drnas"}, "optimizer: 'drnas'"),
            ({"config_file": "no_config"}, "no file no_config; .* acc_config, default, f1_config"),
            ({"datasetpath": "/nowhere"}, "datasetpath: no folder"),
            ({"log_level": "loud"}, "log_level: 'loud'"),
            ({"dataset": "retina"}, "'retina' is unknown"),
            ({"search": {"epoch": 3}}, "search: 'epoch' is unknown"),
            ({"search": {"order": 3}}, "search: order: 3"),
            ({"search": {"grad_clip": 0}}, "grad_clip: 0; give a number above 0"),
            ({"search": {"epochs": "many"}}, r"search: epochs: 'many' \(str\); give a valid integer"),
            ({"collapse": {"momentum": float("nan")}}, "collapse: .*; give finite numbers"),
            ({"collapse": {"dataset": "mnist5k", "per_class": 2}}, "per_class: 2 images a class leave none"),
            ({"eta": 1}, "eta: 1"),
            ({"n_init": 0}, "n_init: 0"),
            ({"retrain_after": -1}, "retrain_after: -1"),
            ({"model": {"n_cell": 3}}, "model: 'n_cell' is unknown"),
            ({"model": {"n_cells": 4}}, "cell_out_channels has 2 values for 4 layers"),
            ({"collapse": {"epochz": 3}}, "collapse: 'epochz' is unknown"),
            ({"num_classes": 10}, "num_classes: 10, but retinadigits has 5"),
            ({"num_img_channels": 1}, "num_img_channels: 1, but retinadigits has 3"),
            ({"min_budget": 3}, "budgets: min_budget 3, max_budget 2"),
            ({"widths": [9, 8]}, "widths: \\(9, 8\\)"),
            ({"probe": {"optimizer": "nope"}}, "probe: optimizer='nope' is no setting"),
        ],
    )
    def test_refuses_what_cannot_work_before_anything_is_written(self, bad, said, results_folder):
        with pytest.raises(UserError, match=said):
            check(NOTEBOOK, {"profile": "smoke", "device": "cpu", **bad})
        assert not list(results_folder.iterdir())


class TestData:
    def test_images_are_flipped_and_turned_unless_they_are_digits(self):
        given = {"dataset": "retinadigits", "min_budget": 1}
        assert of(**given).example.augment is of(**given).searched.augment is False
        assert of(**QUICK).example.augment is of(**QUICK).searched.augment is True
        assert of(**given, augment=True).example.augment is of(**given, augment=True).searched.augment is True

    def test_retinamnist_is_read_and_turned(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_DATA", str(tmp_path))
        monkeypatch.setattr(image_files, "RETINAMNIST_MD5", fake_retinamnist(tmp_path / "retinamnist.npz"))
        found = of(dataset="retinamnist", per_class="none")
        assert found.DATA == "retinamnist" and found.searched.augment
        found.study.check()
        assert found.example.shape == {"channels": 3, "classes": 5, "size": 28}
        train, val = found.example.images(0)
        assert (len(train[1]), len(val[1])) == (30, 10)

    def test_another_file_is_refused_in_one_line(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_DATA", str(tmp_path))
        fake_retinamnist(tmp_path / "retinamnist.npz")
        with pytest.raises(UserError, match="bd4c0672f1bba3e3a89f0e4e876791e4") as raised:
            of(dataset="retinamnist")
        assert "\n" not in str(raised.value)


class TestCandidates:
    """What DARTS found decides which cells the search may choose from, however small the differences it left."""

    @pytest.mark.parametrize("scale", [1e-3, 0.1])
    def test_other_probabilities_give_other_candidates(self, scale):
        o = {"candidates": 5, "max_cells": 6}
        alphas = scale * torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
        p, q = map(node_probabilities, alphas)
        sampled = [levels(x, 2, **o) for x in (p, q, uniform_probabilities())]
        different = [{cell for level in found for cell in level} for found in sampled]
        assert levels(p, 2, **o) == sampled[0] != levels(p, 3, **o)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert len(different[i] & different[j]) < len(different[i]) / 2

    def test_probable_operations_are_drawn_more_often(self):
        alphas = torch.zeros(6, 5)
        alphas[:, 2] = 1.0
        (drawn_cells,) = levels(node_probabilities(alphas), 0, candidates=200, max_cells=1)
        drawn = [name for cell in drawn_cells for name in from_text(cell)]
        # one-hot: 0.405 and four times 0.149; no cell comes twice, which hardly matters
        assert drawn.count("conv") / len(drawn) == pytest.approx(0.405, abs=0.06)
        assert drawn.count("zero") / len(drawn) == pytest.approx(0.149, abs=0.04)

    @pytest.mark.parametrize("profile", ["smoke", "cpu"])
    def test_the_limit_of_operations_admits_the_default_and_most_networks(self, profile):
        task = of(profile=profile, dataset="retinadigits").of_chance(2)
        assert task.admits(spaces.plain(task.space.get_default_configuration()))
        rng = np.random.default_rng(0)
        assert np.mean([task.admits(spaces.sample(task.space, rng)) for _ in range(12)]) >= 0.5


class TestPipeline:
    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, tmp_path_factory):
        """Every part of the study, run once, as the notebook's cells run it."""
        place = str(tmp_path_factory.mktemp("results"))
        before = quick(working_dir=place)
        assert before.plan == [], "stacks are planned from what DARTS found"
        darts, variants, collapses = (
            run_cells(before.study, runs) for runs in (before.darts_plan, before.variants_plan, before.collapse_plan)
        )
        found = quick(working_dir=place)
        searches = retrain_and_keep(found.study, found.study.run(found.plan), 1)
        tested = lambda cells: found.stacked(  # noqa: E731
            cells=cells, split="test", widths=(4, 256), min_epochs=1, max_epochs=1
        )
        probes = run_ablation(found.study, variants, tested, found.searched.network, found.recipe, 1, 10_000)
        run = {"darts": darts, "variants": variants, "collapses": collapses, "searches": searches, "probes": probes}
        return SimpleNamespace(**vars(found) | run, place=place)

    def test_final_networks_are_kept_and_loaded_they_predict_the_same(self, whole):
        test = registry.load(whole.DATA, "test")
        images = test.images.float() / 255
        for s in whole.searches:
            (trial,) = s.tests
            digest = spaces.digest(s.incumbent.configuration)
            folder = whole.study.folder / "models" / f"{s.method}-digits-seed{s.seed}-{digest}"
            (path,) = folder.glob("*.pt")
            with torch.inference_mode():
                logits = load_stack(path)(images)
            assert top_k_accuracy(logits, test.labels, 1) == trial.metrics["top1"]
            told = json.loads(path.with_suffix(".json").read_text())
            assert told["configuration"] == s.incumbent.configuration == trial.configuration
            assert told["metrics"]["macro_f1"] == trial.metrics["macro_f1"]
        assert not list(whole.study.folder.rglob("bohb*.pt"))  # what a search trains on its way is not kept

    def test_every_method_searches_what_it_says(self, whole):
        by = {s.method: s for s in whole.searches}
        assert list(by) == list(whole.METHODS)
        assert by["bohb"].problem.cells == by["rs"].problem.cells == by["resplit"].problem.cells
        assert by["uniform"].problem.cells != by["bohb"].problem.cells
        assert {len(level) for level in by["argmax"].problem.cells} == {1}
        assert [m for m, s in by.items() if s.problem.resplit] == ["resplit"]
        for s in whole.searches:
            chosen = s.incumbent.configuration
            for i in range(1, chosen["n_cells"] + 1):
                assert chosen[f"cell_{i}"] in s.problem.cells[i - 1]
            assert s.epochs <= whole.settings.total_budget
            assert {t.fidelity for t in s.full} == {2}

    def test_the_incumbent_is_trained_anew_and_tested_once(self, whole):
        for s in whole.searches:
            (trial,) = s.tests
            assert trial.configuration == s.incumbent.configuration
            assert {"top1", "macro_f1", "val_top1"} <= set(trial.metrics)

    def test_without_prevention_there_is_no_surrogate(self, whole):
        for found in (whole.variants, whole.collapses):
            curves = {s.task: s.trial.curve["surrogate"] for s in found}
            assert not any(curves["plain"]) and curves["prevented"] == [0.25, 0.0]

    def test_the_ablation_has_all_arms_and_shares_equal_ones(self, whole):
        table = tables.ablation_rows(whole.variants, whole.probes)
        assert len(table) == len(ARMS) == 9 and set(table.seed) == {2}
        assert set(table.prevention) == {"on", "off", "–"} and set(table.cells) == set(tables.SOURCES.values())
        arms = [arm for arm in ARMS if arm.variant == "prevented" and arm.source == "argmax"]
        same = [whole.probes[arm, 2] for arm in arms]
        (prevented,) = [s for s in whole.variants if s.task == "prevented"]
        if prevented.epochs_until_stop() == whole.chosen.epochs:
            assert same[0] == same[1]

    def test_probes_differ_in_their_cells_and_widths_alone(self, whole):
        trials = [t for trials in whole.probes.values() for t in trials]
        fixed = [
            {k: v for k, v in t.configuration.items() if not k.startswith(("cell_", "out_channels"))} for t in trials
        ]
        assert all(c == fixed[0] for c in fixed)
        assert all(0.8 < t.metrics["params"] / 10_000 < 1.25 for t in trials)

    def test_tables(self, whole):
        searches, darts = whole.searches, whole.darts
        weights = tables.arch_weights(darts)
        assert len(weights) == 2 * 6 * 5
        assert weights.groupby(["epoch", "node"]).share.sum().to_numpy() == pytest.approx(1)
        shares = tables.operation_shares(whole.collapses)
        assert shares.groupby(["method", "seed", "epoch"]).share.sum().to_numpy() == pytest.approx(1)
        assert (shares.groupby(["method", "seed", "epoch"]).nodes.sum() == 6).all()
        last = shares[(shares.method == "plain") & (shares.epoch == 2)].set_index("operation")
        (plain,) = [s.trial for s in whole.collapses if s.task == "plain"]
        assert last.share["identity"] == pytest.approx(plain.metrics["skip_share"])
        assert last.train_loss["zero"] == plain.metrics["train_loss"]
        trials = tables.progress(searches)
        assert tables.progress(backwards(searches)).equals(trials)
        assert trials.id.min() >= 2000 and set(trials.epochs) == {1, 2}
        for row in tables.found_table(searches).itertuples():
            from_text("-".join((row.node_2, row.node_3, row.node_4, row.node_5, row.node_6, row.node_7)))

    def test_reported_scores_stand_beside_ours_under_their_own_data(self, whole):
        tidy = tables.scores(whole.searches[:1], reported.load(NOTEBOOK)["baseline"])
        assert set(tidy.type) == {
            f"{s}, {w}" for s in ("val", "test") for w in ("ours on digits", "reported on retinamnist")
        }

    @pytest.mark.parametrize(
        ("changed", "said"),
        [({}, None), ({"total_budget": 2}, "overspent"), ({"runtime": 1e-3}, "overran the runtime")],
    )
    def test_claims_that_hold_and_one_that_does_not(self, whole, changed, said):
        (claims,) = [source for source in cells(NOTEBOOK) if "check_searches(" in source]
        o = SimpleNamespace(**{"total_budget": 6, "runtime": None, "final_seeds": 1} | changed)
        namespace = vars(whole) | {"settings": o, "In": []}
        if said is None:
            run_cell(claims, namespace, NOTEBOOK)
            return
        with pytest.raises(UserError, match=f"AssertionError: .*{said}"):
            run_cell(claims, namespace, NOTEBOOK)

    def test_run_again_reads_everything_and_trains_nothing(self, whole, monkeypatch):
        monkeypatch.setattr(Darts, "_run_epoch", None)
        monkeypatch.setattr(StackedCells, "evaluate", None)
        again = quick(working_dir=whole.place)
        assert [s.trial for s in run_cells(again.study, again.darts_plan)] == [s.trial for s in whole.darts]
        metrics = [t.metrics for s in again.study.run(again.plan) for t in s.history]
        assert metrics == [t.metrics for s in whole.searches for t in s.history]

    def test_a_study_is_checked_and_replayed_from_finished_logs(self, whole):
        given = {"profile": "smoke", "device": "cpu", "working_dir": whole.place} | QUICK
        planned = sorted(experiment(NOTEBOOK, given).study.planned, key=lambda run: run.log.name)
        assert {run.method for run in planned} == {"darts", *whole.METHODS} and all(run.log.exists() for run in planned)
        check(NOTEBOOK, given)
        with pytest.raises(UserError, match="bohb-digits-seed2"):
            check(NOTEBOOK, given | {"n_init": 3})

    def test_starting_over_leaves_no_checkpoint_to_continue(self, whole):
        (run,) = whole.darts_plan
        checkpoint, table = left_behind(run)
        assert checkpoint.exists() and table.exists()
        state = torch.load(checkpoint, weights_only=True)
        assert len(state["records"]) == 2


LABELS = {"prevented": "with skip prevention", "plain": "without"}


class TestCollapse:
    """Which operation takes over is read off the architecture weights, whichever it is."""

    @staticmethod
    def searched(task, seed, alphas):
        """A DARTS search's part that the tables read, from what every node has after each epoch."""
        n = len(alphas)
        curve = {"surrogate": [0.0] * n, "train_loss": [1.0 - 0.1 * e for e in range(n)]}
        outputs = {"alphas": [[row] * 6 for row in alphas]}
        return CellsFound(task, seed, None, SimpleNamespace(outputs=outputs, curve=curve))  # type: ignore[arg-type]

    def shares(self):
        even, to_zero, to_conv = [0.0] * 5, [0.0, 2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0, 0.0]
        found = [self.searched(v, seed, [even, to_zero]) for v in LABELS for seed in (2, 4)]
        found.append(self.searched("plain", 3, [even, to_zero]))
        found.append(self.searched("prevented", 3, [to_zero, to_conv]))
        return tables.operation_shares(found)

    def test_the_table_has_both_operations_without_parameters_and_the_leader(self):
        table = tables.collapse_table(tables.ends(self.shares()).assign(data="some")).set_index("prevention")
        plain, prevented = table.loc["plain"], table.loc["prevented"]
        most, least = np.exp(2) / (np.exp(2) + 4), 1 / (np.exp(2) + 4)
        assert plain.zero_last_mean == plain.zero_largest_mean == pytest.approx(most) and plain.n == 3
        assert (plain.identity_last_mean, plain.identity_largest_mean) == pytest.approx((least, 0.2))
        assert plain.identity_of_rest_mean == pytest.approx(0.25)  # of the four that are not zero, all alike
        assert (plain.zero_nodes_mean, plain.identity_nodes_mean) == (6, 0)
        assert (plain.loss_first_mean, plain.loss_last_mean, plain.loss_last_sd) == pytest.approx((1.0, 0.9, 0.0))
        assert (plain.leader, plain.leader_seeds) == ("zero", 3) and prevented.leader_seeds == 2

    def test_the_figure_has_a_row_an_operation_and_a_column_a_data_set(self):
        panels = {"a": self.shares(), "b": self.shares()}
        figure = cell_figures.operation_shares(panels, LABELS, tables.PARAMETER_FREE)
        axes = np.array(figure.axes).reshape(2, 2)
        assert [axis.get_ylabel() for axis in axes[:, 0]] == ["share of identity", "share of zero"]
        drawn = axes[1, 0].get_lines()[0].get_ydata()  # the mean over seeds of zero's share, with prevention
        zero = panels["a"].query("operation == 'zero' and method == 'prevented'").groupby("epoch").share.mean()
        assert drawn == pytest.approx(zero.to_numpy())
        plt.close(figure)


class TestRuntime:
    def test_no_epoch_of_darts_begins_after_it(self, tmp_path):
        common = {"batch_size": 16, "apply_early_stopping": False}
        one = quick(seeds=[3], search={"epochs": 1} | common)
        (first,) = run_cells(one.study, one.darts_plan)
        took = first.seconds  # on this machine as it is now
        runtime = round(max(1.5, 3 * took), 1)
        given = {"runtime": runtime, "search": {"epochs": 5000} | common, "working_dir": str(tmp_path)}
        found = quick(**given)
        with pytest.raises(UserError, match=f"DARTS took all of its {re.escape(f'{runtime:g}')} s"):
            run_cells(found.study, found.darts_plan)
        (run,) = found.darts_plan
        (trial,) = triallog.read(run.log).trials
        assert trial.status == "cut" and trial.epochs >= 1
        before_the_last = trial.outputs["seconds"] - trial.curve["seconds"][-1]
        slack = 0.5 + took  # building the supernet, checkpoints
        assert trial.outputs["seconds"] >= runtime and before_the_last < runtime + slack
        assert quick(**given).plan == [], "no stack is searched in time that is not there"

    def test_a_search_that_was_cut_off_goes_on_under_a_longer_one(self, tmp_path):
        given = {"search": {"epochs": 3, "batch_size": 16, "apply_early_stopping": False}, "working_dir": str(tmp_path)}
        whole, short = quick(**given), quick(**given, runtime=1e-3)
        (run,) = short.darts_plan
        cut = []
        for _ in range(2):
            with pytest.raises(UserError, match=r"DARTS took all of its 0\.001 s"):
                run_cells(short.study, short.darts_plan)
            cut += triallog.read(run.log).trials
        first, still = cut
        assert first.status == "cut" and first.epochs < 3
        assert still.elapsed == first.elapsed, "the same runtime again trains nothing"
        (done,) = run_cells(whole.study, whole.darts_plan)
        assert done.trial.status == "ok" and len(done.trial.outputs["alphas"]) == 3

    def test_the_search_gets_what_darts_left(self, tmp_path):
        given = {"methods": ["bohb", "uniform"], "total_budget": 100_000, "max_mflops": "none"}
        given["working_dir"] = str(tmp_path)
        found = quick(**given)
        (darts,) = run_cells(found.study, found.darts_plan)
        found = quick(**given, runtime=darts.seconds + 5.0)
        runs = {run.method: run for run in found.plan}
        assert runs["bohb"].budget.seconds == pytest.approx(5.0)
        assert runs["uniform"].budget.seconds == darts.seconds + 5.0
        (s,) = found.study.run([runs["bohb"]])
        trained = [t for t in s.history if t.epochs]
        assert all(t.elapsed - t.seconds <= 5.0 for t in trained)
        last = trained[-1]
        assert last.elapsed <= 5.0 + 2 * last.seconds / last.epochs  # an epoch, and measuring
        assert [t.status for t in s.history if not t.epochs] in ([], ["cut"])  # chosen before the limit, ready after it

    def test_a_failed_search_is_told_and_nothing_is_stacked(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Darts, "_run_epoch", None)
        found = quick(working_dir=str(tmp_path))
        with pytest.raises(UserError, match=r"darts-digits-seed2: .*start over"):
            run_cells(found.study, found.darts_plan)
        assert logged_cells(found.darts_plan) == [] and quick(working_dir=str(tmp_path)).plan == []


class TestReported:
    def test_the_baseline(self):
        found = reported.load(NOTEBOOK)
        assert set(found) == set(found["about"]) | {"about", "source"}
        runs = pd.DataFrame(found["baseline"])
        means = runs[["val_acc", "val_f1", "test_acc", "test_f1"]].mean()
        assert means.round(3).tolist() == [0.611, 0.4, 0.513, 0.285] and len(runs) == 3


def test_every_option_has_its_parameter():
    """Each option of the class project's YAML files, and each that a profile sets."""
    (source,) = cells(NOTEBOOK, "parameters")
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in CONFIGS.glob("*.yaml")]
    options = {name for file in [*files, *of().PROFILES.values()] for name in file}
    assert len(files) == 3
    assert (options | set(filter(None, ORIGINAL_KEYS.values()))) - {"note"} <= assigned(source)
