"""Study 05's second phase: the conditional space, the training of a stack, its splits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from jahslib.core.problem import Job
from jahslib.errors import UserError
from jahslib.models.darts.stacking import sample_cells, to_text, uniform_probabilities
from jahslib.optimizers.random_search import RandomSearch
from jahslib.optimizers.smac_bohb import SmacBohb
from jahslib.problems.darts import stacked_cells
from jahslib.problems.darts.stack_training import architecture
from jahslib.problems.darts.stacked_cells import StackedCells
from jahslib.search import Budget, search
from jahslib.spaces import configurations as spaces
from jahslib.training.trainer import Diverged
from tests.problems.darts.test_stack_training import PLAIN

CELLS = tuple(
    tuple(map(to_text, level))
    for level in sample_cells(uniform_probabilities(), np.random.default_rng(1), candidates=3)
)
SMALL = {"widths": (4, 8), "fc_widths": (4, 8), "batch_sizes": (8, 32), "min_epochs": 1, "max_epochs": 2}


def task(**options):
    return StackedCells(**{"data": "digits", "cells": CELLS, "per_class": 12, "device": "cpu", **SMALL, **options})


class TestSpace:
    def configurations(self, n=60):
        rng = np.random.default_rng(0)
        problem = task()
        return [spaces.sample(problem.space, rng) for _ in range(n)]

    def test_a_hyperparameter_of_a_level_is_there_exactly_where_the_level_is(self):
        for c in self.configurations():
            levels = range(1, 7)
            assert [f"cell_{i}" in c for i in levels] == [i <= c["n_cells"] for i in levels]
            assert [f"out_channels_{i}" in c for i in levels] == [i <= c["n_cells"] for i in levels]
            # 8 pixels can be halved three times
            assert [f"use_max_pooling_{i}" in c for i in levels] == [i <= min(c["n_cells"], 3) for i in levels]
            assert [f"n_out_features_fc_{i}" in c for i in (1, 2, 3)] == [i <= c["n_fc_layers"] for i in (1, 2, 3)]

    def test_training_hyperparameters_follow_what_they_are_of(self):
        for c in self.configurations():
            assert ("momentum" in c) == ("nesterov" in c) == (c["optimizer"] == "sgd")
            assert ("beta1" in c) == ("beta2" in c) == ("amsgrad" in c) == (c["optimizer"] in ("adam", "adamw"))
            assert ("lr_wo_schedule" in c) == (c["lr_scheduler"] == "none") != ("lr_w_schedule" in c)
            assert ("weight_decay" in c) == c["use_weight_decay"]

    def test_every_configuration_is_a_network_and_nothing_in_it_is_dead(self):
        problem = task()
        for c in self.configurations(20):
            assert problem.known(c)["params"] > 0
            assert not any("BN" in name or "global" in name for name in c)
            assert len(architecture(c).cells) == c["n_cells"]

    def test_the_default_is_the_class_projects(self):
        c = spaces.plain(StackedCells(data="retinadigits", cells=CELLS).space.get_default_configuration())
        expected = {"optimizer": "adamw", "lr_scheduler": "OneCycleLR", "lr_w_schedule": 1e-5, "batch_size": 64}
        expected |= {"beta1": 0.5, "beta2": 0.9, "loss_class_weight_smoothing": 0.8, "focal_loss_gamma": 3.0}
        expected |= {"use_surrogate": False, "use_weight_decay": False}
        assert expected.items() <= c.items()
        assert "use_max_pooling_4" in StackedCells(data="retinadigits", cells=CELLS).space
        assert "use_max_pooling_5" not in StackedCells(data="retinadigits", cells=CELLS).space

    def test_one_level_and_one_cell_are_no_choice(self):
        c = spaces.sample(task(cells=(("conv-zero-zero-zero-zero-zero",),)).space, np.random.default_rng(0))
        assert (c["n_cells"], c["cell_1"]) == (1, "conv-zero-zero-zero-zero-zero")

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"cells": ()}, "cells: 0 levels"),
            ({"cells": (("conv",),)}, "cell 'conv'"),
            ({"performance_measure": "auc"}, "performance_measure: 'auc' is unknown"),
            ({"split": "train"}, "split: 'train' is unknown"),
            ({"widths": (2, 8)}, "widths: \\(2, 8\\)"),
            ({"batch_sizes": (1, 8)}, "batch_sizes: \\(1, 8\\)"),
            ({"max_mflops": 0}, "max_mflops: 0"),
        ],
    )
    def test_refuses_what_cannot_work(self, bad, said):
        with pytest.raises(UserError, match=said):
            task(**bad)


class TestEvaluation:
    def test_the_same_seed_gives_the_same_whatever_the_global_generators(self):
        problem = task(data="retinadigits")
        first = problem.evaluate(Job(PLAIN, (2,), seed=3))
        torch.manual_seed(99)
        again = problem.evaluate(Job(PLAIN, (2,), seed=3))
        assert first == again
        assert problem.evaluate(Job(PLAIN, (2,), seed=4)).curve != first.curve

    def test_metrics_of_validation_and_of_test(self):
        problem = task(data="retinadigits")
        measured = problem.evaluate(Job(PLAIN, (1,), seed=0)).metrics
        assert {"top1", "macro_f1", "cross_entropy"} <= set(measured)
        outcome = replace(problem, split="test").evaluate(Job(PLAIN, (1,), seed=0))
        assert {f"val_{name}": value for name, value in measured.items()}.items() <= outcome.metrics.items()
        assert len(outcome.outputs["class_accuracy"]) == 5
        # 400 test images, 54 or fewer for validation
        assert (outcome.metrics["top1"] * 400) % 1 == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize(("measure", "metric"), [("acc", "top1"), ("f1", "macro_f1")])
    def test_the_measure_is_an_option(self, measure, metric):
        assert task(performance_measure=measure).objective.metric == metric

    def test_a_promoted_trial_starts_over_and_pays_for_all_of_its_epochs(self):
        problem = task(data="retinadigits", max_epochs=4)
        promoted = problem.evaluate(Job(PLAIN, (1, 2, 4), seed=3))
        assert promoted == problem.evaluate(Job(PLAIN, (4,), seed=3))
        assert problem.epochs((1, 2, 4)) == promoted.epochs == 4

    def test_divergence_is_charged(self):
        diverging = {**PLAIN, "lr_wo_schedule": 1e30, "momentum": 0.99}
        with pytest.raises(Diverged) as raised:
            task(data="retinadigits").evaluate(Job(diverging, (2,), seed=0))
        assert raised.value.epochs in (1, 2)

    def test_no_epoch_begins_after_the_deadline(self):
        outcome = task(data="retinadigits").evaluate(Job(PLAIN, (2,), seed=0, deadline=0.0))
        assert outcome.cut and outcome.epochs == 0

    def test_networks_that_are_too_expensive_are_not_trained(self):
        problem = task(max_mflops=0.05)
        assert problem.admits(PLAIN)
        assert not problem.admits({**PLAIN, "cell_1": "conv-conv-conv-conv-conv-conv", "out_channels_1": 8})

    def test_operations_are_counted_by_hand(self):
        found = stacked_cells.size_of(architecture(PLAIN), 3, 5, 8)
        # 1 x 1 convolution of 3 to 4 channels on 8 x 8 pixels, two fully connected layers
        assert found["mflops"] * 1e6 == 2 * (3 * 4 * 64 + 4 * 4 + 4 * 5)


class TestImages:
    def test_with_resplitting_a_trials_split_is_its_own(self):
        problem = task(data="retinadigits", per_class=None, resplit=True)
        assert not torch.equal(problem.images(1)[1][0], problem.images(2)[1][0])
        assert torch.equal(task(data="retinadigits").images(1)[1][0], task(data="retinadigits").images(2)[1][0])


class TestSearch:
    def test_bohb_evaluates_the_default_and_takes_the_incumbent_at_the_highest_budget(self, tmp_path):
        problem = task(min_epochs=1, max_epochs=2, per_class=6)
        optimizer = SmacBohb(problem, 0, eta=2, n_init=1, min_trials=1, use_default_config=True)
        history = search(problem, optimizer, Budget(epochs=10), tmp_path / "log.jsonl", seed=0)
        default = spaces.plain(problem.space.get_default_configuration())
        assert default in [t.configuration for t in history]
        assert sum(t.epochs for t in history) <= 10
        assert {t.fidelity for t in history} == {1, 2}
        incumbent = problem.incumbent(history)
        assert incumbent is not None and incumbent.fidelity == 2

    def test_options_added_later_do_not_refuse_older_logs(self):
        plain = SmacBohb(task(), 0).describe()
        assert not {"min_trials", "use_default_config"} & set(plain)
        assert SmacBohb(task(), 0, use_default_config=True).describe()["use_default_config"]

    def test_random_search_draws_from_the_same_space(self, tmp_path):
        problem = task(per_class=6)
        history = search(problem, RandomSearch(problem, 0), Budget(epochs=4), tmp_path / "log.jsonl", seed=0)
        assert [t.fidelity for t in history] == [2, 2]
