"""The ablation's networks: of one size, whatever their cells."""

import pytest

from jahslib.errors import UserError
from jahslib.models.darts.cell import KERNELS, OPERATIONS
from jahslib.models.darts.stacking import to_text
from jahslib.problems.darts import ablation
from jahslib.problems.darts.stacked_cells import StackedCells

NETWORK = {"out_channels": (8, 16, 16), "pooling": (True, True, False), "fc": (16,), "dropout": 0.0}
RECIPE = {"use_surrogate": False}
SMALL, LARGE = (to_text((OPERATIONS[i],) * len(KERNELS)) for i in (0, -2))


def problem(cell, **options):
    return StackedCells(data="retinadigits", cells=((cell,),) * 3, widths=(4, 256), **options)


def shaped(cell):
    (made,) = ablation.configurations(NETWORK, RECIPE, ((cell,),) * 3, 1)
    return made


def widths(configuration):
    return [configuration[f"out_channels_{i}"] for i in (1, 2, 3)]


@pytest.mark.parametrize("cell", [SMALL, LARGE])
@pytest.mark.parametrize("params", [40_000, 80_000])
def test_networks_of_any_cells_get_the_size_asked_for_and_keep_their_shape(cell, params):
    made, given = ablation.resized(problem(cell), shaped(cell), params), shaped(cell)
    assert problem(cell).known(made)["params"] == pytest.approx(params, rel=0.15)
    first, *others = widths(made)
    assert all(width == pytest.approx(2 * first, abs=2) for width in others)
    assert {k: v for k, v in made.items() if "channels" not in k} == {
        k: v for k, v in given.items() if "channels" not in k
    }


def test_networks_stay_within_the_limit_of_operations_of_the_searches():
    free = ablation.resized(problem(LARGE), shaped(LARGE), 80_000)
    limit = problem(LARGE).known(free)["mflops"] / 2
    held = ablation.resized(problem(LARGE, max_mflops=limit), shaped(LARGE), 80_000)
    assert problem(LARGE).known(held)["mflops"] <= limit and sum(widths(held)) < sum(widths(free))


def test_a_limit_that_no_width_respects_is_named():
    with pytest.raises(UserError, match=r"max_mflops 0\.1"):
        ablation.resized(problem(LARGE, max_mflops=0.1), shaped(LARGE), 80_000)
