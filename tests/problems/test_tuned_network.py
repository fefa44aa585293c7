import math
from dataclasses import replace

import pytest
import torch

from jahslib.core.problem import Job
from jahslib.data import registry
from jahslib.errors import UserError
from jahslib.problems.tuned_network import DEFAULT, TunedNetwork, check_setting
from jahslib.search.evaluation import evaluate

SETTING = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-5}


def problem(**options):
    small = {
        "data": "mnist5k",
        "network": "lenet300",
        "per_class": 8,
        "batch_size": 16,
        "min_epochs": 1,
        "max_epochs": 2,
    }
    return TunedNetwork(**small | options)


def job(epochs=2, seed=0, **setting):
    return Job(SETTING | setting, (epochs,), seed)


class TestSpace:
    def test_the_reported_ranges_are_the_default_and_momentum_ends_below_one(self):
        made = TunedNetwork().space
        bounds = {name: (hp.lower, hp.upper, hp.log) for name, hp in made.items()}
        assert bounds["lr"] == (1e-4, 1.0, True)
        assert bounds["weight_decay"] == (1e-6, 1e-4, False)
        assert bounds["momentum"][0] == 0 and 0.99 < bounds["momentum"][1] < 1
        assert not made["momentum"].legal_value(1.0)
        assert dict(made.get_default_configuration()) == DEFAULT

    def test_wider_ranges_and_single_bounds_are_options(self):
        wide, reported = TunedNetwork(ranges="wide").space, TunedNetwork().space
        assert all(wide[n].lower <= reported[n].lower and wide[n].upper >= reported[n].upper for n in reported)
        narrowed = TunedNetwork(bounds={"lr": [0.01, 0.1]}).space
        assert (narrowed["lr"].lower, narrowed["lr"].upper, narrowed["lr"].default_value) == (0.01, 0.1, 0.01)

    def test_the_joint_space_adds_what_is_named(self):
        made = TunedNetwork(joint=("batch_size", "schedule", "network"), networks=("lenet", "alexnet")).space
        assert set(made) == {*DEFAULT, "batch_size", "schedule", "network"}
        assert set(made["network"].choices) == {"lenet", "alexnet"} and "plateau" in made["schedule"].choices

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"ranges": "huge"}, "ranges: 'huge' is unknown"),
            ({"bounds": {"learning_rate": (0, 1)}}, "bounds: 'learning_rate' is unknown"),
            ({"bounds": {"momentum": (0, 1.0)}}, r"momentum: upper bound: 1.0"),
            ({"bounds": {"lr": (0, 1)}}, "lr: lower bound: 0"),
            ({"bounds": {"lr": (1, 0.1)}}, r"bounds: lr has \(1, 0.1\); give lower < upper"),
            ({"bounds": {"lr": 0.1}}, r"bounds: lr has 0.1; give \(lower, upper\)"),
            ({"joint": ("depth",)}, "joint: 'depth' is unknown"),
        ],
    )
    def test_refuses_what_sgd_cannot_use(self, bad, said):
        with pytest.raises(UserError, match=said):
            TunedNetwork(**bad)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("momentum", 1.0, "momentum: 1.0"),
        ("momentum", -0.1, "momentum: -0.1"),
        ("lr", 0.0, "lr: 0.0"),
        ("lr", 1e4, "lr: 10000.0"),
        ("lr", math.nan, "lr: nan"),
        ("weight_decay", "small", "weight_decay: 'small'"),
    ],
)
def test_a_setting_out_of_range_is_named(name, value, said):
    with pytest.raises(UserError, match=said):
        check_setting(name, value)
    with pytest.raises(UserError, match=said):
        problem().recipe({name: value})


class TestProblem:
    def test_the_validation_images_come_from_the_training_split_and_are_not_trained_on(self):
        p = problem()
        (train, _), (held_out, labels) = p.images()
        rows = {image.numpy().tobytes() for image in train}
        held = {image.numpy().tobytes() for image in held_out}
        test = {image.numpy().tobytes() for image in registry.load("mnist5k", "test").images}
        source = {image.numpy().tobytes() for image in registry.load("mnist5k").images}
        assert not rows & held and not (rows | held) & test and rows | held <= source
        assert len(held_out) == 16 and len(train) == 64 and labels.bincount().max() <= 2

    def test_the_test_split_is_measured_whole_and_nothing_is_held_back(self):
        """The original dropped the last incomplete batch: 16 of 10,000 images."""
        p = problem(split="test")
        (train, _), held_out = p.images()
        seen = []
        p.measure = lambda training, logits, labels, job: seen.append(len(labels)) or {"top1": 0.5}
        p.evaluate(job(1))
        assert held_out is None and len(train) == 80 and seen == [1000]

    def test_it_learns_and_reports_parameters_before_training(self):
        p = problem(per_class=40, max_epochs=6)
        found = p.evaluate(job(6))
        assert found.metrics["top1"] > 0.5 and found.epochs == 6
        assert p.known(SETTING) == {"params": 266_610.0}

    def test_the_seed_alone_decides(self):
        before = torch.get_rng_state()
        one, same, other = (problem().evaluate(job(seed=s)).metrics for s in (1, 1, 2))
        assert one == same != other
        assert torch.equal(before, torch.get_rng_state())

    def test_a_diverging_setting_is_a_failed_trial_with_its_epochs_charged(self):
        done = evaluate(problem(per_class=20), job(lr=100.0, weight_decay=1.0))
        assert done.status == "failed" and "non-finite training loss" in done.reason
        assert 1 <= done.outcome.epochs <= 2

    def test_a_single_image_left_over_for_the_last_batch_fails_no_training(self):
        """A ResNet-18 has one pixel left of 8 x 8."""
        small = problem(data="digits", network="resnet18", batch_size=9, folds_used=1)
        assert len(small._splits()[0][0][1]) % 9 == 1
        assert small.evaluate(job(epochs=1)).metrics["top1"] > 0

    def test_the_configuration_decides_batch_schedule_and_network_where_it_has_them(self):
        p = problem(joint=("batch_size", "schedule", "network"), networks=("lenet", "lenet300"))
        setting = SETTING | {"batch_size": 20, "schedule": "multi", "network": "lenet"}
        recipe = p.recipe(setting)
        assert (recipe.batch_size, recipe.schedule, p.network_of(setting)) == (20, "multi", "lenet")
        assert p.known(setting)["params"] == 61_706
        plain = p.recipe({})
        assert (plain.learning_rate, plain.momentum, plain.weight_decay) == (1e-3, 0.9, 1e-5)
        assert (plain.batch_size, plain.schedule, p.network_of({})) == (16, "constant", "lenet300")

    def test_the_number_of_classes_is_the_data_sets(self):
        """The original computed it at import, so that another data set kept 100 outputs."""
        p = problem(data="retinadigits")
        assert p.shape == {"channels": 3, "classes": 5, "size": 28}
        assert replace(p, data="digits").shape == {"channels": 1, "classes": 10, "size": 8}
        training = p.training(job(), p.images()[0])
        assert training.predict(p.images()[0][0][:2]).shape == (2, 5)

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"network": "vgg"}, "network: 'vgg' is unknown"),
            ({"networks": ("lenet", "vit")}, "network: 'vit' is unknown"),
            ({"schedule": "cosine"}, "schedule 'cosine' is unknown"),
            ({"batch_size": 0}, "batch_size: 0"),
            ({"split": "train"}, "split: 'train' is unknown"),
            ({"bounds": {"momentum": (0, 1)}}, "momentum: upper bound: 1"),
        ],
    )
    def test_refuses_bad_options_at_the_door(self, bad, said):
        with pytest.raises(UserError, match=said):
            problem(**bad)

    def test_refuses_an_unknown_data_set_and_images_too_small(self):
        with pytest.raises(UserError, match="'mnits' is unknown; did you mean 'mnist'"):
            problem(data="mnits").check()
        with pytest.raises(UserError, match="network: lenet needs images of at least 12 pixels, these have 8"):
            problem(data="digits", joint=("network",), networks=("lenet300", "lenet")).check()
        problem(data="digits").check()
