"""DARTS's network of two cells, and the search for them."""

import numpy as np
import pytest
import torch

from jahslib.core.problem import Job
from jahslib.errors import UserError
from jahslib.models.darts_network import FactorizedReduce, build, edges, operation
from jahslib.models.layers import count_parameters
from jahslib.problems.grammar_objectives import DartsCells
from jahslib.spaces.grammars import examples

GRAMMAR = examples.grammar("darts-cells")

# The cells that DARTS (second order) published, as (operation, node) pairs: normal, then reduction.
DARTS_V2 = (
    (("sep_conv3x3", 0), ("sep_conv3x3", 1), ("sep_conv3x3", 0), ("sep_conv3x3", 1),
     ("sep_conv3x3", 1), ("id", 0), ("id", 0), ("dil_conv3x3", 2)),
    (("max_pool3x3", 0), ("max_pool3x3", 1), ("id", 2), ("max_pool3x3", 1),
     ("max_pool3x3", 0), ("id", 2), ("id", 2), ("max_pool3x3", 1)),
)  # fmt: skip


def term(cells):
    inner = (", ".join(f"{name}, {tail}" for name, tail in cell) for cell in cells)
    return GRAMMAR.parse(f"Cells({', '.join(f'DARTS({text})' for text in inner)})")


class TestNetwork:
    def test_the_published_cells_have_the_published_size(self):
        assert count_parameters(build, term(DARTS_V2), width=36, layers=20) == 3_349_342
        assert tuple(edges(cell) for cell in term(DARTS_V2).children) == DARTS_V2

    def test_there_are_as_many_pairs_as_of_two_single_cells(self):
        assert GRAMMAR.count() == examples.grammar("DARTS cell").count() ** 2

    @pytest.mark.parametrize("stride", [1, 2])
    @pytest.mark.parametrize("size", [7, 8])
    @pytest.mark.parametrize("name", [p.head for p in GRAMMAR.productions["OP"]])
    def test_every_operation_keeps_or_halves_the_image(self, name, size, stride):
        y = operation(name, 4, stride)(torch.rand(2, 4, size, size))
        assert y.shape == (2, 4, -(-size // stride), -(-size // stride))

    def test_a_reduction_looks_at_pixels_one_apart(self):
        reduce = FactorizedReduce(1, 2).eval()
        for conv in (reduce.even, reduce.odd):
            torch.nn.init.ones_(conv.weight)
        x = torch.arange(16.0).view(1, 1, 4, 4)
        y = reduce(x) * (1 + reduce.bn.eps) ** 0.5
        torch.testing.assert_close(y[0, 0], x[0, 0, ::2, ::2])
        torch.testing.assert_close(y[0, 1], x[0, 0, 1::2, 1::2])

    def test_two_of_its_cells_reduce_and_double_the_width(self):
        model = build(term(DARTS_V2), channels=1, width=4, layers=6)
        shapes = []
        for cell in model.cells:
            cell.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
        assert model(torch.rand(2, 1, 16, 16)).shape == (2, 10)
        assert shapes == [(16, 16, 16)] * 2 + [(32, 8, 8)] * 2 + [(64, 4, 4)] * 2

    def test_a_node_sums_two_operations_on_earlier_nodes(self):
        """With nothing but identities, nodes are sums of the inputs a and b: a + b, 2a + b, 3a + 2b, ..."""
        tails = (0, 1, 0, 2, 2, 3, 1, 4)
        cell = build(term([[("id", tail) for tail in tails]] * 2), width=2, layers=1).cells[0]
        cell.before, cell.last = torch.nn.Identity(), torch.nn.Identity()
        cell.operations = torch.nn.ModuleList(torch.nn.Identity() for _ in tails)
        a, b = torch.rand(2, 1, 2, 3, 3)
        expected = torch.cat([a + b, 2 * a + b, 3 * a + 2 * b, 3 * a + 3 * b], dim=1)
        torch.testing.assert_close(cell(a, b), expected)

    def test_refuses_what_it_cannot_build(self):
        with pytest.raises(UserError, match="width 1, layers 8; give at least 2 channels and 1 cell"):
            build(term(DARTS_V2), width=1)
        with pytest.raises(UserError, match="no operation 'conv3x3'; give a term of the grammar 'darts-cells'"):
            operation("conv3x3", 4, 1)


def digits(**options):
    small = {"data": "digits", "mean": (80.0,), "std": (90.0,), "width": 4, "layers": 3, "flip": False, "crop": 0}
    small |= {"n_train": 200, "n_val": 100, "n_test": 20, "batch_size": 20, "max_epochs": 7}
    return DartsCells.of("darts_cifar10", **small | options)


def job(epochs=7):
    return Job({"architecture": str(term(DARTS_V2))}, (epochs,), 0)


class TestSearch:
    def test_the_protocol_is_the_sources(self):
        p = DartsCells.of("darts_cifar10")
        assert (p.name, p.data, p.validation, p.validation_share) == ("darts_cifar10", "cifar10", "train", 0.5)
        assert (p.max_epochs, p.batch_size, p.lr, p.momentum, p.weight_decay) == (50, 64, 0.025, 0.9, 3e-4)
        assert (p.width, p.layers, p.recipe({}).annealing_epochs, p.clip) == (16, 8, 50, 5)

    def test_it_learns_and_its_error_is_the_mean_of_the_last_epochs(self):
        outcome = digits().evaluate(job())
        errors = outcome.curve["val_error"]
        assert len(errors) == 7 and outcome.metrics["val_error"] == pytest.approx(np.mean(errors[-5:]))
        assert errors[-1] < 0.6 and outcome == digits().evaluate(job())
        assert digits(last=1).evaluate(job()).metrics["val_error"] == errors[-1]

    def test_long_gradients_are_cut(self):
        p = digits(lr=1e-9, momentum=0.0, weight_decay=0.0)
        training = p.training(job(), p.training_images)
        images, labels = training._batch(torch.arange(20))
        training.model.train()
        training.step(images * 1e6, labels)
        training.step(images, labels)
        assert sum(x.grad.square().sum() for x in training.model.parameters()) <= 5**2 * 1.001

    def test_parameters_are_known_before_training(self):
        p = digits()
        model = p.training(job(), p.training_images).model
        assert p.known(job().configuration) == {"params": sum(x.numel() for x in model.parameters())}

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"grammar": "cell-based"}, "grammar: 'cell-based' is unknown; choose one of darts-cells"),
            ({"layers": 0}, "layers: 0; give a whole number of at least 1"),
            ({"curves": False}, "option 'curves' is unknown"),
            ({"depth": 3}, r"darts_cifar10: option 'depth' is unknown"),
        ],
    )
    def test_refuses_what_makes_no_sense(self, options, said):
        with pytest.raises(UserError, match=said):
            digits(**options)
