"""Study 05: its options and configuration files, the pipeline, its time limit, its tables."""

import hashlib
import inspect
import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from jahslib import studies
from jahslib.analysis import reported
from jahslib.data import image_files, places, registry
from jahslib.errors import UserError
from jahslib.figures import darts as cell_figures
from jahslib.models.darts.stacking import from_text, node_probabilities, uniform_probabilities
from jahslib.paths import ROOT
from jahslib.problems.darts.search import Darts
from jahslib.problems.darts.stack_training import load_stack
from jahslib.problems.darts.stacked_cells import StackedCells
from jahslib.search.runs import run_all
from jahslib.spaces import configurations as spaces
from jahslib.studies import darts_bohb as study
from jahslib.studies import darts_bohb_results as results
from jahslib.studies.darts_bohb_options import CONFIGS, SOURCES
from jahslib.training.metrics import top_k_accuracy

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


def options(**given):
    return study.options(**{"profile": "smoke", "device": "cpu", **given})


def quick(**given):
    return options(**{**QUICK, **given})


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
        o = options(profile=profile)
        assert study.settings(o).epochs and study.network(o.model)["out_channels"]
        assert study._n_trials(o) > 0

    def test_the_paper_profile_is_the_class_projects_scale(self):
        o = options(profile="paper")
        assert (o.min_budget, o.max_budget, o.total_budget, o.eta, o.n_init) == (5, 20, 300, 2, 5)
        assert (o.seeds, o.dataset, o.widths, o.max_cells) == ((2, 3, 4, 5, 6), "retinamnist", (8, 256), 6)
        assert study._n_trials(o) == 26 and study._n_trials(replace(o, eta=3)) == 23

    @pytest.mark.parametrize("name", ["default", "acc_config", "f1_config"])
    def test_the_configuration_files_hold_the_class_projects_values(self, name):
        o = options(config_file=name)
        s = study.settings(o)
        assert (s.epochs, s.arch_learning_rate) == ((1, 0.03) if name == "default" else (20, 0.005))
        assert o.performance_measure == ("f1" if name == "f1_config" else "acc")
        assert (o.dataset, o.checkpoint_freq, o.num_classes) == ("retinamnist", 5, 5)
        assert (s.learning_rate, s.momentum, s.weight_decay, s.grad_clip) == (0.005, 0.9, 3e-4, 5)
        assert (s.stopping_after_n_skips, s.early_stopping_threshold, s.focal_loss_gamma) == (2, 0.25, 3.0)
        assert study.network(o.model)["out_channels"] == (16, 32, 64)

    def test_what_the_search_may_be_without_is_none_in_words(self):
        o = options(search={"grad_clip": "none", "learning_rate": "1e-2", "weight_decay": 0}, max_mflops="none")
        s = study.settings(o)
        assert (s.grad_clip, s.learning_rate, s.weight_decay, o.max_mflops) == (None, 0.01, 0, None)
        assert options(config_file="none").config_file is None

    def test_a_copied_file_ranks_between_profile_and_parameters(self, tmp_path):
        path = tmp_path / "mine.yaml"
        shutil.copy(CONFIGS / "f1_config.yaml", path)
        path.write_text(path.read_text().replace("epochs: 20", "epochs: 7"))
        o = options(config_file=str(path), search={"momentum": 0.5}, performance_measure="acc")
        s = study.settings(o)
        assert (s.epochs, s.momentum, s.batch_size, o.performance_measure) == (7, 0.5, 64, "acc")
        assert study.settings(options()).epochs == 2

    def test_the_class_projects_names(self, tmp_path):
        path = tmp_path / "mine.yaml"
        path.write_text(f"out_dir: {tmp_path}/out\ndatasetpath: {tmp_path}\nseed: 4\nmodel: {{use_BN: [true]}}\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JAHSLIB_DATA", "before")
            o = options(config_file=str(path))
        assert study.folder(o) == tmp_path / "out" and o.seeds == (4,)

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
        o = options(config_file=self.original(tmp_path), search={"epochs": 2})
        s = study.settings(o)
        assert (s.epochs, s.batch_size, s.arch_learning_rate, s.stopping_after_n_skips) == (2, 64, 0.02, 3)
        assert (o.num_classes, o.num_img_channels, o.checkpoint_freq) == (10, 1, 5)
        assert (o.performance_measure, o.save_arch_weights) == ("f1", True)
        assert study.network(o.model) == {"out_channels": (4, 4), "pooling": (True,) * 2, "fc": (8,), "dropout": 0.1}
        study.check(o)
        logs = [r.log for r in study.cell_searches(o).values()]
        assert logs and all(log.parent == tmp_path / "run" / "acc_config" / "logs" for log in logs)

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("num_classes: 10", "num_classes: 5", "num_classes: 5, but digits has 10"),
            ('"SGD"', '"RMSprop"', "search: op_optimizer is 'RMSprop'; there is SGD alone"),
            ("momentum:", "momentun:", "search: unknown option 'momentun'"),
            ("num_img_channels:", "num_channels:", "unknown key 'dataset_meta.num_channels'"),
            ("name: acc_config", "name: ../acc", "name: '../acc' is no name of a folder"),
        ],
    )
    def test_what_is_wrong_in_such_a_file_is_named(self, old, new, said, tmp_path):
        with pytest.raises(UserError, match=said):
            study.check(options(config_file=self.original(tmp_path, old, new)))
        assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]

    def test_the_data_folder_by_the_class_projects_name(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_DATA", "before")
        options(datasetpath=str(tmp_path))
        assert places.places()[0] == ("JAHSLIB_DATA", tmp_path)

    def test_a_dead_key_is_said_to_be_dead(self, caplog):
        study.network({**options().model, "use_BN": [True] * 6})
        assert "use_BN changes nothing" in caplog.text

    def test_skip_prevention_can_be_switched_off(self):
        assert study.settings(options(skip_prevention=False)).surrogate_schedule == "none"

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"methods": ["bohbb"]}, "methods: 'bohbb' is unknown; choose from bohb"),
            ({"seeds": []}, "seeds: none given"),
            ({"epoch": 3}, "'epoch' is unknown"),
            ({"runtime": 0}, "runtime: 0.0 seconds"),
            ({"max_cells": 7}, "max_cells: 7"),
            ({"surrogate": "both"}, "parameter surrogate is 'both'"),
            ({"optimizer": "drnas"}, "parameter optimizer is 'drnas'"),
            ({"config_file": "no_config"}, "no file no_config; .* acc_config, default, f1_config"),
            ({"datasetpath": "/nowhere"}, "datasetpath: no folder"),
            ({"log_level": "loud"}, "log_level: 'LOUD' is unknown"),
        ],
    )
    def test_refuses_bad_options(self, bad, said):
        with pytest.raises(UserError, match=said):
            options(**bad)

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"dataset": "retina"}, "no data set is called 'retina'"),
            ({"search": {"epoch": 3}}, "search: unknown option 'epoch'"),
            ({"search": {"order": 3}}, "order is 3"),
            ({"search": {"grad_clip": 0}}, "grad_clip: 0 lets nothing be trained"),
            ({"search": {"epochs": "many"}}, r"search: epochs is 'many' \(str\); expected int"),
            ({"collapse": {"momentum": float("nan")}}, "parameter collapse is .*; give finite numbers"),
            ({"collapse": {"dataset": "mnist5k", "per_class": 2}}, "per_class: 2 images a class leave none"),
            ({"eta": 1}, "eta=1"),
            ({"n_init": 0}, "n_init=0"),
            ({"retrain_after": -1}, "retrain_after=-1"),
            ({"model": {"n_cell": 3}}, "model: unknown option 'n_cell'"),
            ({"model": {"n_cells": 4}}, "cell_out_channels has 2 values for 4 layers"),
            ({"collapse": {"epochz": 3}}, "collapse: unknown option 'epochz'"),
            ({"num_classes": 10}, "num_classes: 10, but retinadigits has 5"),
            ({"num_img_channels": 1}, "num_img_channels: 1, but retinadigits has 3"),
            ({"min_budget": 3}, "budgets: min_budget 3, max_budget 2"),
            ({"widths": [9, 8]}, "widths: \\(9, 8\\)"),
            ({"probe": {"optimizer": "nope"}}, "probe: optimizer='nope' is no setting"),
        ],
    )
    def test_refuses_what_cannot_work_before_anything_is_written(self, bad, said, results_folder):
        with pytest.raises(UserError, match=said):
            studies.check(study.NOTEBOOK, {"profile": "smoke", "device": "cpu", **bad})
        assert not list(results_folder.iterdir())


class TestData:
    def test_auto_takes_the_stand_in_and_says_so(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_DATA", str(tmp_path))
        monkeypatch.setattr(places, "ROOT", tmp_path)
        assert options(dataset="auto").dataset == "retinadigits"

    def test_images_are_flipped_and_turned_unless_they_are_digits(self):
        assert [options(dataset=name).augment for name in ("retinamnist", "retinadigits")] == [True, False]
        chosen = options(dataset="retinadigits", augment=True)
        assert chosen.augment and study.problem(chosen, study.levels(uniform_probabilities(), 0, chosen)).augment

    def test_auto_takes_retinamnist_where_its_file_is(self, tmp_path, monkeypatch, results_folder):
        monkeypatch.setenv("JAHSLIB_DATA", str(tmp_path))
        monkeypatch.setattr(image_files, "RETINAMNIST_MD5", fake_retinamnist(tmp_path / "retinamnist.npz"))
        o = options(dataset="auto", per_class=None)
        assert o.dataset == "retinamnist"
        study.check(o)
        task = study.problem(o, study.levels(uniform_probabilities(), 0, o))
        assert task.shape == {"channels": 3, "classes": 5, "size": 28}
        train, val = task.images(0)
        assert (len(train[1]), len(val[1])) == (30, 10)

    def test_another_file_is_refused_in_one_line(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_DATA", str(tmp_path))
        fake_retinamnist(tmp_path / "retinamnist.npz")
        with pytest.raises(UserError, match="bd4c0672f1bba3e3a89f0e4e876791e4") as raised:
            study.check(options(dataset="auto"))
        assert "\n" not in str(raised.value)


class TestCandidates:
    """What DARTS found decides which cells the search may choose from, however small the differences it left."""

    @pytest.mark.parametrize("scale", [1e-3, 0.1])
    def test_other_probabilities_give_other_candidates(self, scale):
        o = options(candidates=5, max_cells=6)
        alphas = scale * torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
        p, q = map(node_probabilities, alphas)
        sampled = [study.levels(x, 2, o) for x in (p, q, uniform_probabilities())]
        cells = [{cell for level in found for cell in level} for found in sampled]
        assert study.levels(p, 2, o) == sampled[0] != study.levels(p, 3, o)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert len(cells[i] & cells[j]) < len(cells[i]) / 2

    def test_probable_operations_are_drawn_more_often(self):
        o = options(candidates=200, max_cells=1)
        alphas = torch.zeros(6, 5)
        alphas[:, 2] = 1.0
        ((*cells,),) = study.levels(node_probabilities(alphas), 0, o)
        drawn = [name for cell in cells for name in from_text(cell)]
        # one-hot: 0.405 and four times 0.149; no cell comes twice, which hardly matters
        assert drawn.count("conv") / len(drawn) == pytest.approx(0.405, abs=0.06)
        assert drawn.count("zero") / len(drawn) == pytest.approx(0.149, abs=0.04)

    @pytest.mark.parametrize("profile", ["smoke", "cpu"])
    def test_the_limit_of_operations_admits_the_default_and_most_networks(self, profile):
        o = options(profile=profile, dataset="retinadigits")
        task = study.problem(o, study.levels(uniform_probabilities(), 2, o))
        assert task.admits(spaces.plain(task.space.get_default_configuration()))
        rng = np.random.default_rng(0)
        assert np.mean([task.admits(spaces.sample(task.space, rng)) for _ in range(12)]) >= 0.5


class TestPipeline:
    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, tmp_path_factory):
        """Every part of the study, run once: options, cells, searches, finals, variants, collapse, probes."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JAHSLIB_RESULTS", str(tmp_path_factory.mktemp("results")))
            o = quick()
            cells = study.run_cells(o, study.cell_searches(o))
            searches = study.finished(o, cells, run_all(study.searches(o, cells)))
            finals = study.run_finals(o, searches)
            variants = study.run_cells(o, study.variant_searches(o))
            collapse = study.run_cells(o, study.collapse_searches(o))
            yield o, cells, searches, finals, variants, collapse, study.run_probes(o, variants)

    def test_final_networks_are_kept_and_loaded_they_predict_the_same(self, whole):
        o, _, searches, finals, *_ = whole
        test = registry.load(o.dataset, "test")
        images = test.images.float() / 255
        for s in searches:
            (trial,) = finals[s.method, s.seed]
            (path,) = study.models(o, s).glob("*.pt")
            with torch.inference_mode():
                logits = load_stack(path)(images)
            assert top_k_accuracy(logits, test.labels, 1) == trial.metrics["top1"]
            told = json.loads(path.with_suffix(".json").read_text())
            assert told["configuration"] == s.incumbent.configuration == trial.configuration
            assert told["metrics"]["macro_f1"] == trial.metrics["macro_f1"]
        assert not list(study.folder(o).rglob("bohb*.pt"))  # what a search trains on its way is not kept

    def test_every_method_searches_what_it_says(self, whole):
        o, _, searches, *_ = whole
        by = {s.method: s for s in searches}
        assert list(by) == list(study.METHODS)
        assert by["bohb"].problem.cells == by["rs"].problem.cells == by["resplit"].problem.cells
        assert by["uniform"].problem.cells != by["bohb"].problem.cells
        assert {len(level) for level in by["argmax"].problem.cells} == {1}
        assert [m for m, s in by.items() if s.problem.resplit] == ["resplit"]
        for s in searches:
            chosen = s.incumbent.configuration
            for i in range(1, chosen["n_cells"] + 1):
                assert chosen[f"cell_{i}"] in s.problem.cells[i - 1]
            assert sum(t.epochs for t in s.history) <= o.total_budget
            assert {t.fidelity for t in s.full} == {2}

    def test_the_incumbent_is_trained_anew_and_tested_once(self, whole):
        _, _, searches, finals, *_ = whole
        for s in searches:
            (trial,) = finals[s.method, s.seed]
            assert trial.configuration == s.incumbent.configuration
            assert {"top1", "macro_f1", "val_top1"} <= set(trial.metrics)

    def test_without_prevention_there_is_no_surrogate(self, whole):
        *_, variants, collapse, _ = whole
        for found in (variants, collapse):
            assert not any(found["plain", 2].curve["surrogate"])
            assert found["prevented", 2].curve["surrogate"] == [0.25, 0.0]

    def test_the_ablation_has_all_arms_and_shares_equal_ones(self, whole):
        o, *_, variants, _, probes = whole
        table = results.ablation_table(o, variants, probes)
        assert len(table) == 9 and set(table.n) == {1}
        assert set(table.prevention) == {"on", "off", "–"} and set(table.cells) == set(SOURCES.values())
        same = probes[("prevented", True, "argmax"), 2], probes[("prevented", False, "argmax"), 2]
        if results.stopped_at(o, variants["prevented", 2], True) == study.settings(o).epochs:
            assert same[0] == same[1]

    def test_probes_differ_in_their_cells_alone(self, whole):
        *_, probes = whole
        fixed = [
            {k: v for k, v in t.configuration.items() if not k.startswith("cell_")} for p in probes.values() for t in p
        ]
        assert all(c == fixed[0] for c in fixed) and fixed[0]["out_channels_1"] == 4

    def test_tables_and_claims(self, whole):
        o, cells, searches, finals, variants, collapse, _ = whole
        results.check_claims(o, cells, searches, finals, variants, collapse)
        methods = results.methods_table(o, searches, cells, finals)
        assert list(methods.method) == list(study.METHODS.values())
        assert methods.set_index("method").minutes_darts["uniform cells"] == 0
        weights = results.arch_weights(cells)
        assert len(weights) == 2 * 6 * 5
        assert weights.groupby(["epoch", "node"]).share.sum().to_numpy() == pytest.approx(1)
        shares = results.operation_shares(collapse)
        assert shares.groupby(["method", "seed", "epoch"]).share.sum().to_numpy() == pytest.approx(1)
        assert (shares.groupby(["method", "seed", "epoch"]).nodes.sum() == 6).all()
        last = shares[(shares.method == "plain") & (shares.epoch == 2)].set_index("operation")
        assert last.share["identity"] == pytest.approx(collapse["plain", 2].metrics["skip_share"])
        assert last.train_loss["zero"] == collapse["plain", 2].metrics["train_loss"]
        assert set(results.collapse_table({"digits": shares}).prevention) == set(study.VARIANTS.values())
        assert len(results.optimism_table(o, searches, finals)) == 5
        curves = results.curves(o, searches, cells)
        assert (curves[curves.method == "bohb"].minutes > cells[2].outputs["seconds"] / 60).all()
        trials = results.progress(o, searches)
        assert trials.id.min() >= 2000 and set(trials.epochs) == {1, 2}
        for row in results.found_table(searches).itertuples():
            from_text("-".join((row.node_2, row.node_3, row.node_4, row.node_5, row.node_6, row.node_7)))

    def test_reported_scores_stand_beside_ours_under_their_own_data(self, whole):
        o, _, searches, finals, *_ = whole
        table = results.reported_table(o, searches, finals).set_index("data")
        assert table.loc["retinamnist", "test_acc"].startswith("0.513") and table.loc["retinamnist", "n"] == 3
        assert table.loc["digits", "n"] == 1
        labels = set(results.scores(o, searches, finals).type)
        assert labels == {f"{s}, {w}" for s in ("val", "test") for w in ("ours on digits", "reported on retinamnist")}

    def test_a_claim_that_does_not_hold_is_noticed(self, whole):
        o, cells, searches, finals, variants, collapse, _ = whole
        with pytest.raises(AssertionError, match="overspent"):
            results.check_claims(replace(o, total_budget=2), cells, searches, finals, variants, collapse)
        with pytest.raises(AssertionError, match="overran the runtime"):
            results.check_claims(replace(o, runtime=1e-3), cells, searches, finals, variants, collapse)

    def test_run_again_reads_everything_and_trains_nothing(self, whole, monkeypatch):
        o, cells, searches, *_ = whole
        monkeypatch.setattr(Darts, "_run_epoch", None)
        monkeypatch.setattr(StackedCells, "evaluate", None)
        assert study.run_cells(o, study.cell_searches(o)) == cells
        again = run_all(study.searches(o, cells))
        assert [t.metrics for s in searches for t in s.history] == [t.metrics for h in again.values() for t in h]

    def test_starting_over_leaves_no_checkpoint_to_continue(self, whole):
        o, *_ = whole
        (run,) = study.cell_searches(o).values()
        checkpoint, table = study._left_behind(run)
        assert checkpoint.exists() and table.exists()
        state = torch.load(checkpoint, weights_only=True)
        assert len(state["records"]) == 2


class TestCollapse:
    """Which operation takes over is read off the architecture weights, whichever it is."""

    @staticmethod
    def searched(alphas):
        """A DARTS trial's part that the tables read, from what every node has after each epoch."""
        n = len(alphas)
        curve = {"surrogate": [0.0] * n, "train_loss": [1.0 - 0.1 * e for e in range(n)]}
        return SimpleNamespace(outputs={"alphas": [[row] * 6 for row in alphas]}, curve=curve)

    def shares(self):
        even, to_zero, to_conv = [0.0] * 5, [0.0, 2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0, 0.0]
        found = {(v, seed): self.searched([even, to_zero]) for v in ("prevented", "plain") for seed in (2, 3)}
        found["plain", 4] = found["prevented", 4] = self.searched([even, to_zero])
        found["prevented", 3] = self.searched([to_zero, to_conv])
        return results.operation_shares(found)

    def test_the_table_has_both_operations_without_parameters_and_the_leader(self):
        table = results.collapse_table({"some": self.shares()}).set_index("prevention")
        plain, prevented = table.loc["without"], table.loc["with skip prevention"]
        most, least = np.exp(2) / (np.exp(2) + 4), 1 / (np.exp(2) + 4)
        assert plain.zero_last == plain.zero_largest == f"{most:.3f} ± 0.000"
        assert (plain.identity_last, plain.identity_largest) == (f"{least:.3f} ± 0.000", "0.200 ± 0.000")
        assert plain.identity_of_rest == "0.250 ± 0.000"  # of the four that are not zero, all alike
        assert (plain.zero_nodes, plain.identity_nodes) == ("6.0 ± 0.0", "0.0 ± 0.0")
        assert (plain.loss_first, plain.loss_last) == ("1.00 ± 0.00", "0.90 ± 0.00")
        assert (plain.leader, prevented.leader) == ("zero", "zero (2), conv (1)")

    @pytest.mark.parametrize(
        ("shares", "said"),
        [
            ({2: (0.1, 0.3), 3: (0.2, 0.5)}, "less"),
            ({2: (0.3, 0.1), 3: (0.5, 0.2)}, "more"),
            ({2: (0.1, 0.3), 3: (0.3, 0.2)}, "not told apart"),
            ({2: (0.1, 0.3)}, "not told apart"),
        ],
    )
    def test_what_prevention_does_is_said_only_beyond_the_seeds_spread(self, shares, said):
        rows = [
            {"method": variant, "seed": seed, "epoch": epoch, "operation": operation, "share": share * (epoch == 2)}
            for seed, pair in shares.items()
            for variant, share in zip(("prevented", "plain"), pair, strict=True)
            for epoch in (1, 2)
            for operation in ("identity", "zero")
        ]
        assert results.effect(pd.DataFrame(rows)) == said

    def test_the_figure_has_a_row_an_operation_and_a_column_a_data_set(self):
        panels = {"a": self.shares(), "b": self.shares()}
        figure = cell_figures.operation_shares(panels, study.VARIANTS, results.PARAMETER_FREE)
        axes = np.array(figure.axes).reshape(2, 2)
        assert [axis.get_ylabel() for axis in axes[:, 0]] == ["share of identity", "share of zero"]
        drawn = axes[1, 0].get_lines()[0].get_ydata()  # the mean over seeds of zero's share, with prevention
        zero = panels["a"].query("operation == 'zero' and method == 'prevented'").groupby("epoch").share.mean()
        assert drawn == pytest.approx(zero.to_numpy())
        plt.close(figure)


class TestRuntime:
    def test_no_epoch_of_darts_begins_after_it(self, results_folder):
        common = {"batch_size": 16, "apply_early_stopping": False}
        one = quick(seeds=[3], methods=["bohb"], search={"epochs": 1} | common)
        took = study.run_cells(one, study.cell_searches(one))[3].outputs["seconds"]  # on this machine as it is now
        runtime = round(max(1.5, 3 * took), 1)
        o = quick(runtime=runtime, methods=["bohb"], search={"epochs": 5000} | common)
        cells = study.run_cells(o, study.cell_searches(o))
        trial = cells[2]
        assert trial.status == "cut" and trial.epochs >= 1
        before_the_last = trial.outputs["seconds"] - trial.curve["seconds"][-1]
        slack = 0.5 + took  # building the supernet, checkpoints
        assert trial.outputs["seconds"] >= runtime and before_the_last < runtime + slack
        with pytest.raises(UserError, match=f"DARTS took all of its {re.escape(f'{runtime:g}')} s"):
            list(study.searches(o, cells))

    def test_a_search_that_was_cut_off_goes_on_under_a_longer_one(self, results_folder):
        common = {"seeds": [2], "methods": ["bohb"]}
        settings = {"batch_size": 16, "apply_early_stopping": False}
        whole = quick(**common, search={"epochs": 3} | settings)
        short = replace(whole, runtime=1e-3)
        (cut,) = study.run_cells(short, study.cell_searches(short)).values()
        assert cut.status == "cut" and cut.epochs < 3
        (still,) = study.run_cells(short, study.cell_searches(short)).values()
        assert still.elapsed == cut.elapsed, "the same runtime again trains nothing"
        (done,) = study.run_cells(whole, study.cell_searches(whole)).values()
        assert done.status == "ok" and len(done.outputs["alphas"]) == 3

    def test_the_search_gets_what_darts_left(self, results_folder):
        o = quick(methods=["bohb", "uniform"], total_budget=100_000, max_mflops=None)
        cells = study.run_cells(o, study.cell_searches(o))
        spent = cells[2].outputs["seconds"]
        o = replace(o, runtime=spent + 5.0)
        runs = {run.method: run for run in study.searches(o, cells)}
        assert runs["bohb"].budget.seconds == pytest.approx(5.0)
        assert runs["uniform"].budget.seconds == spent + 5.0
        history = run_all([runs["bohb"]])[runs["bohb"].log.stem]
        trained = [t for t in history if t.epochs]
        assert all(t.elapsed - t.seconds <= 5.0 for t in trained)
        last = trained[-1]
        assert last.elapsed <= 5.0 + 2 * last.seconds / last.epochs  # an epoch, and measuring
        assert [t.status for t in history if not t.epochs] in ([], ["cut"])  # chosen before the limit, ready after it


class TestReported:
    def test_the_baseline(self):
        found = reported.load(study.NOTEBOOK)
        assert set(found) == set(found["about"]) | {"about", "source"}
        runs = pd.DataFrame(found["baseline"])
        means = runs[["val_acc", "val_f1", "test_acc", "test_f1"]].mean()
        assert means.round(3).tolist() == [0.611, 0.4, 0.513, 0.285] and len(runs) == 3


def test_every_option_has_its_parameter():
    """Each option of the class project's command line and YAML files, and each of ours."""
    from dataclasses import fields

    notebook = json.loads((ROOT / "notebooks" / f"{study.NOTEBOOK}.ipynb").read_text())
    (cell,) = [c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", [])]
    named = {line.split(" = ")[0] for line in "".join(cell["source"]).splitlines()}
    assert named == {f.name for f in fields(study.Options)} - {"note"}
