"""Networks of terms: the primitives of NAS-Bench-201 and of the hierarchical space."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from jahslib.errors import UserError
from jahslib.models import nb201
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.evolve import crossover, mutate
from jahslib.spaces.grammars.grammar import Grammar

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "grammar_kernels.json").read_text())
SPACES = {"fixed_1_none": "cell-based", "variable_multi_multi": "hierarchical"}
CELLS = examples.grammar("cell-based")


def golden(key):
    ids, counts = GOLDEN[key]["ids"], GOLDEN[key]["params_before_after_first_forward_32x32"]
    return [pytest.param(SPACES[key], text, after, id=f"{SPACES[key]}{i}")
            for i, (text, (_, after)) in enumerate(zip(ids, counts, strict=True))]  # fmt: skip


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(*shape, seed=0):
    return torch.rand(*shape, generator=generator(seed)).to(memory_format=torch.channels_last)


def small(text):
    """A network of 2 channels and one operation, without resBlocks."""
    return Grammar(f"L1: 1-2\nTwo: 1-2 1-3 2-3\nCell: 1-2 1-3 2-3 1-4 2-4 3-4\nS -> {text}")


def body(text, x):
    """What a term makes of the stem's output, every convolution's weight being ones; one channel."""
    grammar = small(text)
    steps, _ = nb201.flatten(grammar, next(grammar.enumerate()), tuple(x.shape[1:]))
    model = nb201.Network(steps, 1, 1, 1, 2).eval()
    for p in model.operations.parameters():
        torch.nn.init.ones_(p)
    model.stem = model.norm = model.classifier = torch.nn.Identity()
    return model(x)


@pytest.mark.parametrize(("space", "text", "count"), [*golden("fixed_1_none"), *golden("variable_multi_multi")])
def test_parameters_are_those_of_the_original_after_its_first_forward_pass(space, text, count):
    grammar = examples.grammar(space)
    term = grammar.parse(text)
    model = nb201.build(grammar, term)
    assert parameters(model) == count == nb201.count_parameters(grammar, term)
    model(batch(2, 3, 32, 32))
    assert parameters(model) == count


def test_parameters_of_a_cell_based_network_are_nas_bench_201s_closed_form():
    cell = CELLS.parse("Cell(conv3x3, conv1x1, zero, id, conv3x3, avg_pool)")
    assert nb201.count_parameters(CELLS, cell) == 73_306 + 2 * 243_040 + 28_000
    assert nb201.count_parameters(CELLS, cell, classes=100) == 79_156 + 2 * 243_040 + 28_000


@pytest.mark.parametrize("space", ["hierarchical", "shared", "cell-based"])
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_term_and_offspring_trains_one_step(space, seed):
    """Four channels only: what is tested is that shapes and gradients fit."""
    grammar, rng = examples.grammar(space), np.random.default_rng(seed)
    a, b = grammar.sample(rng), grammar.sample(rng)
    for term in {a, mutate(grammar, a, rng) or a, *(crossover(grammar, a, b, rng) or ())}:
        for size in (16, 32):
            model = nb201.build(grammar, term, classes=5, size=size, width=4, generator=generator())
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            F.cross_entropy(model(batch(4, 3, size, size)), torch.arange(4)).backward()
            optimizer.step()
            assert all(p.grad is not None for p in model.parameters())
            loss = F.cross_entropy(model(batch(4, 3, size, size)), torch.arange(4))
            assert loss.isfinite()
            assert parameters(model) == nb201.count_parameters(grammar, term, classes=5, size=size, width=4)


@pytest.mark.parametrize("size", [(8, 8), (11, 17), (14, 14), (28, 20)])
def test_any_size_channels_and_classes(size):
    grammar = examples.grammar("hierarchical")
    term = grammar.sample(np.random.default_rng(1))
    model = nb201.build(grammar, term, channels=1, classes=7, size=size, width=4)
    assert model(batch(3, 1, *size)).shape == (3, 7)
    assert parameters(model) == nb201.count_parameters(grammar, term, channels=1, classes=7, size=size, width=4)


def test_the_generator_alone_decides_the_weights():
    grammar = examples.grammar("hierarchical")
    term, before = grammar.sample(np.random.default_rng(2)), torch.get_rng_state()
    one, same, other = (nb201.build(grammar, term, width=4, generator=generator(s)) for s in (1, 1, 2))
    weights = [[*model.state_dict().values()] for model in (one, same, other)]
    assert all(torch.equal(a, b) for a, b in zip(*weights[:2], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(*weights[1:], strict=True))
    assert torch.equal(before, torch.get_rng_state())


def test_layer_normalisation_is_trained():
    """In the original its parameters are made too late for the optimizer."""
    grammar = small("L1(layer)")
    model = nb201.build(grammar, grammar.sample(np.random.default_rng(0)), classes=3, size=(8, 10), width=4)
    scale = model.operations[0].weight
    assert scale.shape == (8, 10, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    F.cross_entropy(model(batch(6, 3, 8, 10)), torch.arange(6) % 3).backward()
    optimizer.step()
    assert not torch.equal(scale, torch.ones_like(scale))


def test_norms_are_torchs():
    x = batch(4, 6, 9, 7) * 3 + 1
    assert torch.allclose(nb201.LayerNorm(6, 9, 7)(x), F.layer_norm(x, (6, 9, 7)), atol=1e-6)
    found = nb201.InstanceNorm(6)(x)
    assert torch.allclose(found, F.instance_norm(x), atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_pooling_does_not_count_the_border():
    assert torch.equal(nb201.FUNCTIONS["avg_pool"](torch.ones(1, 1, 8, 8)), torch.ones(1, 1, 8, 8))


class TestFlattening:
    X = torch.full((1, 1, 8, 8), 2.0)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("L1(id)", 2.0),
            ("Two(id, id, id)", 4.0),  # two ways of doing nothing meet and are summed
            ("Two(zero, id, conv1x1o)", 2.0),  # the convolution leads nowhere from
            ("Two(conv1x1o, zero, avg_pool)", 2.0),
            ("Cell(id, id, conv1x1o, id, zero, id)", 2.0 + 2 * 2.0),
            ("Cell(conv1x1o, zero, zero, id, id, zero)", 4.0),
            ("Cell(id, conv1x1o, id, zero, id, id)", 2.0 + (2.0 + 2.0)),
        ],
    )
    def test_a_term_is_the_function_it_says(self, text, expected):
        assert body(text, self.X).tolist() == [[expected]]

    def test_what_meets_no_path_is_not_built(self):
        grammar = small("Cell(conv1x1o, conv3x3o, zero, id, zero, zero)")
        steps, _ = nb201.flatten(grammar, next(grammar.enumerate()), (4, 8, 8))
        assert steps == []

    def test_equal_operations_without_parameters_run_once(self):
        grammar = small("Cell(avg_pool, avg_pool, id, avg_pool, avg_pool, zero)")
        steps, _ = nb201.flatten(grammar, next(grammar.enumerate()), (4, 8, 8))
        # of node 3 nothing reaches the output; node 4 sums the pooled input and its own pooling
        assert [s.label for s in steps] == ["avg_pool", "avg_pool", "+"]
        assert body("Cell(avg_pool, zero, zero, avg_pool, id, zero)", self.X).tolist() == [[4.0]]

    def test_operations_with_parameters_are_never_shared(self):
        grammar = small("Two(conv1x1o, conv1x1o, id)")
        steps, _ = nb201.flatten(grammar, next(grammar.enumerate()), (4, 8, 8))
        assert [s.label for s in steps] == ["conv1x1o", "conv1x1o", "+"]

    def test_the_resolution_falls_by_the_resblocks(self):
        grammar = examples.grammar("hierarchical")
        _, last = nb201.flatten(grammar, grammar.sample(np.random.default_rng(0)), (16, 33, 20))
        assert last == (64, 9, 5)


def test_tensors_are_let_go_when_nothing_needs_them():
    grammar = examples.grammar("hierarchical")
    model = nb201.build(grammar, grammar.sample(np.random.default_rng(0)), width=4, size=8)
    spent = [i for _, _, done in model._program for i in done]
    assert sorted(spent) == list(range(len(model._program)))  # every value but the last, once


class TestBadInput:
    def test_images_too_small(self):
        with pytest.raises(UserError, match="images of 4 x 32 pixels are too small; give at least 8 x 8"):
            nb201.build(CELLS, CELLS.sample(np.random.default_rng(0)), size=(4, 32))

    def test_a_term_of_another_grammar(self):
        with pytest.raises(UserError, match="it derives CELL, but this grammar starts at D2"):
            nb201.count_parameters(examples.grammar("hierarchical"), CELLS.sample(np.random.default_rng(0)))

    def test_an_operation_that_is_none(self):
        grammar = small("L1(conv9x9)")
        with pytest.raises(UserError, match="no operation 'conv9x9'; a term's terminals can be id, zero, relu"):
            nb201.build(grammar, grammar.sample(np.random.default_rng(0)))

    def test_paths_that_disagree_about_the_resolution(self):
        grammar = small("Two(resBlock, id, id)")
        with pytest.raises(UserError, match="tensors of 16x32x32 and 32x16x16 meet at a node"):
            nb201.build(grammar, grammar.sample(np.random.default_rng(0)))
