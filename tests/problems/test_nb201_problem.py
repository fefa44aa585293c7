"""Study 03's problems: protocols, splits, and trials that can be continued."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from jahslib.core.problem import Job
from jahslib.data import places, registry
from jahslib.errors import UserError
from jahslib.problems import grammar_networks
from jahslib.problems.grammar_networks import NB201, PROTOCOLS
from jahslib.spaces.grammars import examples

CELL = "(CELL Cell (OPS conv1x1) (OPS zero) (OPS avg_pool) (OPS id) (OPS zero) (OPS id))"
LAYERS = "Cell: 1-2 1-3 2-3\nS -> Cell(layer, conv3x3o, resBlock) | Cell(conv3x3, zero, id)"


def tiny(objective="nb201_addNIST", **options):
    """On 8 x 8 digits, four channels wide."""
    small = {"data": "digits", "mean": (80.0,), "std": (90.0,), "grammar": "cell-based", "max_epochs": 2, "width": 4}
    small |= {"n_train": 40, "n_val": 20, "n_test": 20, "batch_size": 16}
    return NB201.of(objective, **small | options)


def job(epochs=(2,), seed=0, **more):
    folders = {name: more.pop(name) for name in ("save", "restore") if name in more}
    return Job({"architecture": CELL} | more, epochs, seed, **folders)


class TestProtocols:
    def test_are_the_sources(self):
        shared = {name: (p.max_epochs, p.batch_size, p.lr, p.momentum, p.weight_decay, p.nesterov, p.crop, p.flip)
                  for name, p in ((name, NB201.of(name)) for name in PROTOCOLS)}  # fmt: skip
        assert shared == {
            "nb201_cifar10": (200, 256, 0.1, 0.9, 5e-4, True, 4, True),
            "nb201_cifar100": (200, 256, 0.1, 0.9, 5e-4, True, 4, True),
            "nb201_ImageNet16-120": (200, 256, 0.1, 0.9, 5e-4, True, 2, True),
            "nb201_cifarTile": (64, 64, 0.01, 0.9, 3e-4, False, 0, False),
            "nb201_addNIST": (64, 64, 0.01, 0.9, 3e-4, False, 0, False),
        }

    def test_one_fidelity_and_an_error_to_minimise(self):
        p = NB201.of("nb201_cifar10")
        assert (p.fidelity.low, p.fidelity.high) == (200, 200)
        assert p.objective.cost({"val_error": 0.25}) == 0.25 and p.objective.worst_cost == 1
        assert replace(p, split="test").objective.metric == "test_error"

    def test_the_learning_rate_falls_by_a_cosine_to_zero(self):
        recipe = tiny(max_epochs=8).recipe({})
        assert recipe.annealing_epochs == 8 and recipe.schedule == "constant" and not recipe.shuffle


class TestSplits:
    def test_a_quarter_of_the_training_split_is_held_back(self):
        p = tiny(n_train=None, n_val=None, n_test=None)
        train, val, test = ([i.numpy().tobytes() for i in part[0]]
                            for part in (p.training_images, p.validation_images, p.test_images))  # fmt: skip
        assert len(val) == round(len(train) / 3) and not set(train) & set(val)
        assert sorted(train + val) == sorted(i.numpy().tobytes() for i in registry.load("digits").images)
        assert sorted(test) == sorted(i.numpy().tobytes() for i in registry.load("digits", "test").images)

    def test_half_of_the_test_split_validates(self):
        p = tiny("nb201_cifar100", n_train=None, n_val=None, n_test=None)
        val, test = ([i.numpy().tobytes() for i in part[0]] for part in (p.validation_images, p.test_images))
        assert len(p.training_images[1]) == len(registry.load("digits").images)
        assert abs(len(val) - len(test)) <= 1 and not set(val) & set(test)
        assert sorted(val + test) == sorted(i.numpy().tobytes() for i in registry.load("digits", "test").images)

    def test_every_beginning_is_class_balanced_and_the_seed_decides(self):
        p = tiny(n_train=70)
        images, labels = p.training_images
        assert labels.bincount().tolist() == [7] * 10 and len(labels[:15].unique()) == 10
        assert torch.equal(images, tiny(n_train=70).training_images[0])
        assert not torch.equal(images, tiny(n_train=70, seed=1).training_images[0])

    def test_smaller_images_are_averages(self):
        p = tiny(data="mnist5k", n_train=5, image_size=14)
        whole = replace(p, image_size=None).training_images[0]
        assert p.shape["size"] == (14, 14)
        expected = whole.float().unflatten(3, (14, 2)).unflatten(2, (14, 2)).mean((3, 5)).round()
        assert torch.equal(p.training_images[0].float(), expected)

    def test_on_test_all_training_images_are_trained_on(self):
        p = tiny(split="test", n_train=None, n_test=None)
        ((train, held_out),) = p._splits()
        assert len(train[1]) == len(registry.load("digits").labels)
        assert len(held_out[1]) == len(registry.load("digits", "test").labels)
        assert set(replace(p, n_train=40, n_test=20).evaluate(job()).metrics) == {"test_error"}


class TestTrials:
    def test_a_trial_measures_both_errors_and_the_seed_alone_decides(self):
        before = torch.get_rng_state()
        one, same, other = (tiny(curves=True).evaluate(job(seed=s)) for s in (1, 1, 2))
        assert one == same and one.curve != other.curve
        assert set(one.metrics) == {"val_error", "test_error"} and all(0 <= e <= 1 for e in one.metrics.values())
        assert one.epochs == 2 and len(one.curve["val_error"]) == 2
        assert one.curve["val_error"][-1] == one.metrics["val_error"]
        assert torch.equal(before, torch.get_rng_state())

    def test_no_test_error_where_none_is_asked_for(self):
        assert set(tiny(n_test=0).evaluate(job((2,))).metrics) == {"val_error"}

    @pytest.mark.parametrize("objective", ["nb201_addNIST", "nb201_cifar10"])  # without and with augmentation
    def test_one_epoch_and_one_more_are_two(self, objective, tmp_path):
        p = tiny(objective, min_epochs=1, validation="train", curves=True)
        whole = p.evaluate(job(save=tmp_path / "whole"))
        p.evaluate(job((1,), save=tmp_path / "one"))
        rest = p.evaluate(job((1, 2), restore=tmp_path / "one", save=tmp_path / "two"))
        assert rest.metrics == whole.metrics and rest.epochs == 1
        a, b = (torch.load(tmp_path / f / "fold0.pt", weights_only=True)["model"] for f in ("whole", "two"))
        assert all(torch.equal(a[name], b[name]) for name in a)

    def test_it_learns(self):
        p = tiny(n_train=400, n_val=100, n_test=0, max_epochs=8, lr=0.1, grammar=LAYERS, width=8)
        architecture = str(p.space.grammar.parse("Cell(conv3x3, zero, id)"))
        found = p.evaluate(Job({"architecture": architecture}, (8,), 0))
        assert found.metrics["val_error"] < 0.4

    def test_parameters_are_known_before_training(self):
        p = tiny()
        (training,) = [p.training(job(), p.training_images)]
        assert p.known(job().configuration) == {"params": sum(x.numel() for x in training.model.parameters())}

    def test_hyperparameters_can_be_searched_beside(self):
        p = tiny(searched=("lr", "weight_decay"), bounds={"lr": (0.01, 0.1)})
        c = p.space.sample(np.random.default_rng(0))
        assert 0.01 <= c["lr"] <= 0.1 and p.recipe(c).learning_rate == c["lr"]
        assert p.recipe(c).weight_decay == c["weight_decay"] != p.weight_decay
        assert tiny().recipe(job().configuration).learning_rate == p.lr

    def test_a_problem_goes_to_another_process(self):
        p = tiny(grammar=LAYERS)
        c = p.space.sample(np.random.default_rng(0))
        again = pickle.loads(pickle.dumps(p))
        assert again.describe() == p.describe() and again.known(c) == p.known(c)

    def test_options_are_in_the_fingerprint(self):
        described = tiny().describe()
        assert described["n_train"] == 40 and described["name"] == "nb201_addNIST"
        assert described != tiny(image_size=8).describe()


def test_standardised_images_have_mean_zero_and_deviation_one():
    p = tiny()
    images = p.training(job(), p.training_images).model
    x = torch.tensor([80.0, 170.0]).view(2, 1, 1, 1) / 255
    images.network = torch.nn.Identity()
    assert images(x).flatten().tolist() == pytest.approx([0, 1], abs=1e-6)


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"epochs": 3}, "nb201_addNIST: option 'epochs' is unknown"),
            ({"folds": 3}, "option 'folds' is unknown"),
            ({"grammar": "huge"}, "grammar: 'huge' is unknown; choose one of hierarchical, cell-based, shared"),
            ({"grammar": "S -> T"}, "grammar: line 1, column 6"),
            ({"n_train": 0}, "n_train: 0; give a whole number of at least 1"),
            ({"validation_share": 1.0}, "validation_share: 1.0; give a number between 0 and 1"),
            ({"validation": "dev"}, "validation: 'dev' is unknown"),
            ({"searched": ("depth",)}, "searched: 'depth' is unknown"),
            ({"searched": ("lr",), "bounds": {"lr": (0.1, 0.01)}}, "bounds: lr has"),
            ({"lr": 0.0}, "lr: 0.0"),
            ({"momentum": 1.0}, "momentum: 1.0"),
            ({"std": (0.0,)}, "mean, std"),
            ({"batch_size": 0}, "batch_size: 0"),
        ],
    )
    def test_of_options(self, options, said):
        with pytest.raises(UserError, match=said):
            tiny(**options)

    def test_of_the_objective(self):
        with pytest.raises(UserError, match="objective: 'nb201_svhn' is unknown"):
            NB201.of("nb201_svhn")

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"data": "svhn"}, "'svhn' is unknown"),
            ({"mean": (0.0,) * 3, "std": (1.0,) * 3}, "mean: 3 values for 1 channels of digits"),
            ({"image_size": 16}, "image_size: 16 of 8 x 8; give 8 to 8"),
            ({"data": "mnist5k", "image_size": 4}, "image_size: 4 of 28 x 28; give 8 to 28"),
        ],
    )
    def test_of_images(self, options, said):
        with pytest.raises(UserError, match=said):
            tiny(**options).check()

    def test_of_an_absent_data_set(self, monkeypatch, tmp_path):
        monkeypatch.setattr(places, "ROOT", tmp_path)
        monkeypatch.setattr(places, "SYSTEM", tmp_path)
        monkeypatch.delenv("JAHSLIB_DATA", raising=False)
        with pytest.raises(UserError, match=r"imagenet16-120: found no imagenet16-120.npz in .* to get it"):
            NB201.of("nb201_ImageNet16-120").check()

    @pytest.mark.parametrize(
        ("configuration", "said"),
        [
            ({}, "no 'architecture'"),
            ({"architecture": "(CELL Cell"}, "column 11"),
            ({"architecture": str(examples.grammar("activation").sample(np.random.default_rng(0)))}, "it derives L2"),
        ],
    )
    def test_of_terms(self, configuration, said):
        with pytest.raises(UserError, match=said):
            tiny().known(configuration)

    def test_of_hyperparameters(self):
        with pytest.raises(UserError, match="hyperparameter 'depth' is unknown"):
            tiny().recipe({"architecture": CELL, "depth": 3})
        with pytest.raises(UserError, match="lr: nan"):
            tiny().recipe({"architecture": CELL, "lr": math.nan})


def test_the_default_problem_is_a_problem():
    assert NB201().name == "nb201" and grammar_networks.SPACES[0] == NB201().grammar
