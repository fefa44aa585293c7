import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jahslib.errors import UserError
from jahslib.models.darts.cell import OPERATIONS
from jahslib.models.darts.stacking import (
    from_text,
    most_probable_cell,
    node_probabilities,
    sample_cells,
    to_text,
    uniform_probabilities,
)

SHARP = torch.tensor([[0.405, 0.2, 0.2, 0.111, 0.084]]).repeat(6, 1)


@given(st.lists(st.floats(-100, 100), min_size=5, max_size=5))
def test_probabilities_keep_their_bounds_and_the_order_of_the_parameters(row):
    alphas = torch.tensor([row] * 6, dtype=torch.float64)
    p = node_probabilities(alphas)
    torch.testing.assert_close(p.sum(1), torch.ones(6, dtype=torch.float64))
    assert p.min() >= 0.0841 and p.max() <= 0.4047
    order = alphas[0].argsort()
    assert (p[0][order].diff() >= 0).all()


def test_the_bounds_are_reached_by_one_parameter_that_is_not_zero():
    up, down = node_probabilities(torch.tensor([[3.0, 0, 0, 0, 0], [-1e-3, 0, 0, 0, 0]]))
    assert up.max().item() == pytest.approx(math.e / (math.e + 4)) == pytest.approx(0.405, abs=5e-4)
    assert down.min().item() == pytest.approx(1 / (1 + 4 * math.e)) == pytest.approx(0.084, abs=5e-4)


def test_only_the_ratios_of_the_parameters_matter_and_none_means_uniform():
    alphas = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(node_probabilities(1e-3 * alphas), node_probabilities(alphas))
    torch.testing.assert_close(node_probabilities(torch.zeros(6, 5)), uniform_probabilities())


def test_levels_get_different_cells_the_same_for_the_same_seed():
    levels = sample_cells(SHARP, np.random.default_rng(3))
    assert len(levels) == 6
    assert all(len(set(cells)) == 5 and all(set(cell) <= set(OPERATIONS) for cell in cells) for cells in levels)
    assert sample_cells(SHARP, np.random.default_rng(3)) == levels
    assert sample_cells(SHARP, np.random.default_rng(4)) != levels


def test_each_node_draws_from_its_own_distribution():
    p = SHARP.clone()
    p[2] = torch.tensor([0, 0, 0, 0.25, 0.75])
    cells = [c for level in sample_cells(p, np.random.default_rng(0), levels=2000, candidates=1) for c in level]
    counted = torch.tensor([[sum(c[n] == name for c in cells) for name in OPERATIONS] for n in range(6)]) / len(cells)
    torch.testing.assert_close(counted, p, atol=0.04, rtol=0)


def test_a_level_gets_all_cells_where_there_are_too_few():
    p = torch.zeros(6, 5)
    p[:, 2] = 1
    assert sample_cells(p, np.random.default_rng(0), levels=2) == [[("conv",) * 6]] * 2
    p[0] = torch.tensor([0.001, 0, 0.999, 0, 0])
    level = sample_cells(p, np.random.default_rng(0), levels=1)[0]
    assert set(level) == {("conv",) * 6, ("identity",) + ("conv",) * 5}


def test_the_most_probable_cell():
    alphas = torch.eye(6, 5) + 0.1
    assert most_probable_cell(alphas) == (*OPERATIONS, "identity")


def test_cells_as_text():
    cell = ("conv", "zero", "identity", "resnet", "bottleneck", "conv")
    assert to_text(cell) == "conv-zero-identity-resnet-bottleneck-conv" and from_text(to_text(cell)) == cell
    with pytest.raises(UserError, match="conv-zero"):
        from_text("conv-zero")
