import math

import pytest
import torch

from jahslib.core.problem import Job
from jahslib.data import registry
from jahslib.errors import UserError
from jahslib.models import flower_cnn
from jahslib.problems.constrained_cnn import ConstrainedCNN

SMALL = {
    "learning_rate_init": 0.01,
    "batch_size": 48,
    "kernel_size": 3,
    "use_BN": True,
    "global_avg_pooling": True,
    "dropout_rate": 0.3,
    "n_conv_layers": 1,
    "n_channels_conv_0": 16,
    "n_fc_layers": 1,
    "n_channels_fc_0": 16,
}


def problem(**changes):
    return ConstrainedCNN(**{"data": "digits", "per_class": 12, "min_epochs": 1, "max_epochs": 12} | changes)


class TestContinuation:
    def test_exact_equals_uninterrupted_bit_for_bit_over_all_folds(self, tmp_path):
        p = problem()
        whole = p.evaluate(Job(SMALL, (12,), 7, save=tmp_path / "whole"))
        parts = [
            p.evaluate(Job(SMALL, (3,), 7, save=tmp_path / "3")),
            p.evaluate(Job(SMALL, (3, 6), 7, restore=tmp_path / "3", save=tmp_path / "6")),
            p.evaluate(Job(SMALL, (3, 6, 12), 7, restore=tmp_path / "6", save=tmp_path / "12")),
        ]
        assert parts[-1].metrics == whole.metrics
        assert [loss for part in parts for loss in part.curve["train_loss"]] == whole.curve["train_loss"]
        assert [part.epochs for part in parts] == [9, 9, 18] and whole.epochs == 36
        for fold in range(3):
            ours, theirs = (torch.load(tmp_path / w / f"fold{fold}.pt", weights_only=True) for w in ("12", "whole"))
            assert all(torch.equal(ours["model"][k], theirs["model"][k]) for k in theirs["model"])

    @pytest.mark.parametrize("how", ["exact", "weights"])
    def test_a_lost_checkpoint_costs_nothing_but_time(self, how, tmp_path):
        p = problem(continuation=how, folds_used=1)
        p.evaluate(Job(SMALL, (3,), 7, save=tmp_path / "3"))
        continued = p.evaluate(Job(SMALL, (3, 6), 7, restore=tmp_path / "3"))
        retrained = p.evaluate(Job(SMALL, (3, 6), 7, restore=tmp_path / "gone"))
        assert continued.metrics == retrained.metrics and continued.epochs == retrained.epochs == 3

    def test_weights_only_differs_from_exact(self, tmp_path):
        outcomes = []
        for how in ("exact", "weights"):
            p = problem(continuation=how, folds_used=1, curves=True)
            p.evaluate(Job(SMALL, (3,), 7, save=tmp_path / how))
            outcomes.append(p.evaluate(Job(SMALL, (3, 6), 7, restore=tmp_path / how)).curve["train_loss"])
        assert outcomes[0] != outcomes[1]

    def test_scratch_is_charged_in_full(self):
        p = problem(continuation="scratch", folds_used=2)
        assert p.epochs((3, 6)) == 12
        assert p.evaluate(Job(SMALL, (3, 6), 7)).metrics == p.evaluate(Job(SMALL, (6,), 7)).metrics


class TestEvaluation:
    def test_folds_are_stratified_and_follow_the_seed(self):
        one, same, other = (problem(seed=s)._splits() for s in (0, 0, 1))
        assert all(torch.equal(a[1][1], b[1][1]) for a, b in zip(one, same, strict=True))
        assert not torch.equal(one[0][1][0], other[0][1][0])
        for (_, train), (_, held_out) in one:
            assert torch.bincount(held_out).tolist() == [4] * 10 and torch.bincount(train).tolist() == [8] * 10
            assert (held_out.diff() >= 0).all(), "batch-wise precision needs class-sorted validation data"

    def test_measures_precision_under_both_names_and_curves_on_demand(self):
        outcome = problem(folds_used=1, curves=True).evaluate(Job(SMALL, (4,), 0))
        assert {"top3", "batchwise_precision", "macro_precision", "macro_f1"} <= set(outcome.metrics)
        assert len(outcome.curve["train_loss"]) == len(outcome.curve["top3"]) == 4
        assert outcome.curve["top3"][-1] == outcome.metrics["top3"]

    def test_the_test_split_is_measured_with_and_without_leaked_images(self):
        p = problem(split="test")
        outcome = p.evaluate(Job(SMALL, (2,), 0))
        assert len(outcome.outputs["predictions"]) == len(registry.load("digits", "test").labels)
        assert outcome.metrics["top3_without_leaked"] == outcome.metrics["top3"]  # digits have none

    def test_a_deadline_ends_training_at_an_epoch(self):
        outcome = problem(folds_used=1).evaluate(Job(SMALL, (12,), 0, deadline=0.0))
        assert outcome.cut and outcome.epochs == 0

    def test_divergence_charges_the_epochs_it_took(self):
        from jahslib.search.evaluation import evaluate

        wild = {**SMALL, "learning_rate_init": 0.1, "use_BN": False}
        result = evaluate(
            problem(folds_used=1, loss="mse", optimizer="sgd"), Job({**wild, "learning_rate_init": 1e30}, (5,), 0)
        )
        assert result.status == "failed" and "Diverged" in result.reason and 1 <= result.outcome.epochs <= 2

    def test_the_size_of_a_network_is_known_before_training(self):
        p = ConstrainedCNN(data="digits", max_model_size=1000)
        assert not p.admits(flower_cnn.DEFAULT)
        assert p.known(SMALL)["params"] == sum(
            q.numel() for q in flower_cnn.build(SMALL, channels=1, classes=10, size=8).parameters()
        )

    def test_the_fingerprint_tells_data_and_options_apart(self):
        assert problem().describe() != problem(per_class=11).describe()
        assert problem().describe() == problem(device="cuda").describe()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"split": "train"}, "split"),
        ({"precision": "precision"}, "precision"),
        ({"continuation": "weight"}, "continuation"),
        ({"folds_used": 4}, "folds_used"),
        ({"max_model_size": -1}, "max_model_size: -1"),
        ({"min_precision": math.inf}, "min_precision: inf"),
        ({"optimizer": "lion"}, "optimizer"),
    ],
)
def test_refuses_bad_options_by_name(bad, said):
    with pytest.raises(UserError, match=said):
        problem(**bad)
