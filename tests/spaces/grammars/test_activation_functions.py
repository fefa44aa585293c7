"""Activation functions from terms, the ResNet that they are put into, and the search for them."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from jahslib.core.problem import Job
from jahslib.errors import UserError
from jahslib.models.activation_functions import OPERATIONS, Activation, build
from jahslib.models.layers import count_parameters
from jahslib.problems.grammar_objectives import ActivationFunctions
from jahslib.spaces.grammars import examples
from jahslib.training.trainer import Diverged

GRAMMAR = examples.grammar("activation")
RELU = "UnaryTopo(UnaryTopo(umax))"
SWISH = "BinaryTopo(bsigmoid, UnaryTopo(mconst), UnaryTopo(id), id, id)"

X = np.linspace(-0.9, 0.9, 7)
CURVES = {
    "id": X, "neg": -X, "abs": abs(X), "square": X**2, "cubic": X**3, "square_root": np.sqrt(np.maximum(X, 0)),
    "mconst": X, "aconst": X + 1, "log": np.log(abs(X) + 1e-6), "exp": np.exp(X), "sin": np.sin(X), "cos": np.cos(X),
    "sinh": np.sinh(X), "cosh": np.cosh(X), "tanh": np.tanh(X), "asinh": np.arcsinh(X), "atanh": np.arctanh(X),
    "sinc": np.sinc(X), "umax": np.maximum(X, 0), "umin": np.minimum(X, 0), "sigmoid": 1 / (1 + np.exp(-X)),
    "logexp": np.log(1 + np.exp(X)), "gaussian": np.exp(-(X**2)), "erf": [math.erf(v) for v in X],
    "const": np.ones_like(X),
}  # fmt: skip
OF_TWO = {  # of x and x + 1
    "add": 2 * X + 1, "multi": X * (X + 1), "sub": -np.ones_like(X), "div": X / (X + 1 + 1e-6), "bmax": X + 1,
    "bmin": X, "bsigmoid": (X + 1) / (1 + np.exp(-X)), "bgaussian_sq": np.full_like(X, np.exp(-1)),
    "bgaussian_abs": np.full_like(X, np.exp(-1)), "wavg": X,
}  # fmt: skip


def values(text, x=X):
    term = GRAMMAR.parse(text)
    made = Activation(term, 2)
    y = made(torch.tensor(x, dtype=torch.float32).repeat(2, 1).view(1, 2, 1, -1))
    assert y.shape == (1, 2, 1, len(x)) and torch.equal(y[:, 0].nan_to_num(), y[:, 1].nan_to_num())
    return y[0, 0, 0].detach().numpy()


class TestFunctions:
    def test_there_is_one_for_each_terminal_of_the_grammar(self):
        terminals = {p.head for symbol in ("UnOp", "BinOp") for p in GRAMMAR.productions[symbol]}
        assert terminals == set(OPERATIONS) == {*CURVES, *OF_TWO} and len(terminals) == 35

    @pytest.mark.parametrize("name", CURVES)
    def test_of_one_value(self, name):
        found = values(f"UnaryTopo(UnaryTopo({name}))")
        assert np.nan_to_num(found) == pytest.approx(CURVES[name], rel=1e-4, abs=1e-5)

    def test_the_root_of_a_negative_value_is_none(self):
        assert np.isnan(values("UnaryTopo(UnaryTopo(square_root))")[X < 0]).all()

    @pytest.mark.parametrize("name", OF_TWO)
    def test_of_two_values_in_their_order(self, name):
        found = values(f"BinaryTopo({name}, UnaryTopo(id), UnaryTopo(aconst), id, id)")
        assert found == pytest.approx(OF_TWO[name], rel=1e-4, abs=1e-5)

    def test_are_nested_as_the_term_is(self):
        inner = "BinaryTopo(multi, sin, exp, id, id)"
        found = values(f"BinaryTopo(sub, UnaryTopo(cos), {inner}, id, id)")
        assert found == pytest.approx(np.cos(X) - np.sin(X) * np.exp(X), rel=1e-5, abs=1e-6)
        assert values(f"UnaryTopo({inner})") == pytest.approx(np.sin(X) * np.exp(X), rel=1e-5, abs=1e-6)

    def test_a_term_of_another_grammar_is_refused(self):
        cell = examples.grammar("cell-based").sample(np.random.default_rng(0))
        with pytest.raises(UserError, match=r"activation: no operation .* give a term of the grammar 'activation'"):
            Activation(cell, 4)


class TestNetwork:
    def test_with_relu_it_is_resnet20(self):
        assert (
            count_parameters(build, GRAMMAR.parse(RELU)) == 269_722
        )  # the published network's, and the original's check
        model = build(GRAMMAR.parse(RELU), generator=torch.Generator().manual_seed(0))
        assert sum(p.numel() for p in model.parameters()) == 269_722
        x = torch.randn(2, 16, 5, 5, generator=torch.Generator().manual_seed(0))
        assert torch.equal(model.act(x), F.relu(x))
        assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)

    def test_every_place_and_channel_has_its_own_parameter(self):
        more = count_parameters(build, GRAMMAR.parse(SWISH)) - count_parameters(build, GRAMMAR.parse(RELU))
        assert more == 7 * 16 + 6 * 32 + 6 * 64

    def test_shortcuts_keep_the_first_channels_place_in_the_middle(self):
        block = build(GRAMMAR.parse("UnaryTopo(UnaryTopo(id))")).layers[3]
        block.bn2.weight.data.zero_()  # nothing but the shortcut is left
        x = torch.rand(1, 16, 6, 6)
        y = block.eval()(x)
        assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2]) and not y[:, :8].any() and not y[:, 24:].any()


def digits(**options):
    small = {"data": "digits", "mean": (80.0,), "std": (90.0,), "width": 4, "flip": False, "crop": 0}
    small |= {"n_train": 300, "n_val": 100, "n_test": 20, "batch_size": 32, "max_epochs": 8}
    return ActivationFunctions.of("act_cifar10", **small | options)


def job(text, epochs=8):
    return Job({"architecture": str(GRAMMAR.parse(text))}, (epochs,), 0)


class TestSearch:
    def test_the_protocol_is_the_sources(self):
        p = ActivationFunctions.of("act_cifar10")
        assert (p.name, p.data, p.batch_size, p.lr, p.momentum, p.weight_decay) == (
            "act_cifar10", "cifar10", 128, 0.1, 0.9, 1e-4,
        )  # fmt: skip
        steps = math.ceil(45_000 / 128)  # an epoch: a tenth of the images is held back
        assert (p.max_epochs - 1) * steps < 64_000 <= p.max_epochs * steps
        assert p.space.grammar.count() == 393_762_525

    def test_the_learning_rate_falls_twice(self):
        p = digits(n_train=32)
        training, rates = p.training(job(RELU), p.training_images), []
        training.run(8, on_epoch=lambda *_: rates.append(training.optimizer.param_groups[0]["lr"]))
        assert rates == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2)

    def test_a_good_function_learns_and_its_parameters_with_it(self):
        p = digits()
        assert p.evaluate(job(RELU)).metrics["val_error"] < 0.5
        training = p.training(job(SWISH), p.training_images)
        before = [b.clone() for n, b in training.model.named_parameters() if n.endswith("beta")]
        training.run(1)
        after = [b for n, b in training.model.named_parameters() if n.endswith("beta")]
        assert len(before) == 19 and not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))

    def test_one_that_is_not_defined_everywhere_fails(self):
        with pytest.raises(Diverged, match="non-finite training loss in epoch 1"):
            digits(n_train=32).evaluate(job("UnaryTopo(UnaryTopo(square_root))"))

    def test_parameters_are_known_before_training(self):
        p = digits()
        c = job(SWISH).configuration
        model = p.training(job(SWISH), p.training_images).model
        assert p.known(c) == {"params": sum(x.numel() for x in model.parameters())}

    def test_refuses_other_grammars_and_options(self):
        with pytest.raises(UserError, match="grammar: 'hierarchical' is unknown; choose one of activation"):
            digits(grammar="hierarchical")
        with pytest.raises(UserError, match=r"act_cifar10: option 'layers' is unknown"):
            digits(layers=3)
