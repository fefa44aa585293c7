"""Sobol and the grid pass the conformance class of every optimizer, and do what they are called after."""

import math

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace, Float, Integer, Normal

from jahslib.core.optimizer import Listed
from jahslib.core.trials import History
from jahslib.errors import UserError
from jahslib.optimizers.grid import even_counts, grid
from jahslib.optimizers.sobol import Sobol
from jahslib.problems.tuned_network import TunedNetwork
from jahslib.search import Budget, search
from jahslib.spaces.configurations import from_unit
from tests.conftest import Toy, conditional_space, tiny_space
from tests.optimizers import test_optimizers
from tests.optimizers.test_optimizers import FORBIDDEN, searched  # noqa: F401 (a fixture)


def shuffled_grid(problem, seed):
    points = grid(problem.space, even_counts(problem.space, 300), np.random.default_rng(seed))
    return Listed(problem, seed, [p for p in points if problem.admits(p)])


@pytest.fixture(params=[Sobol, shuffled_grid])
def make(request):
    return request.param


@pytest.fixture
def budget():
    return Budget(trials=25)


class TestConformanceOfPoints(test_optimizers.TestConformance):
    Toy = Toy


def proposed(problem, n, seed=0):
    optimizer, history = Sobol(problem, seed), History()
    for _ in range(n):
        history.ask(optimizer.ask(history))
    return [s.configuration for s in history.suggestions]


@pytest.mark.parametrize("method", [lambda s: Sobol(Toy(space=s), 0), lambda s: grid(s, dict.fromkeys(s, 2))])
@pytest.mark.parametrize(
    ("space", "said"),
    [
        (ConfigurationSpace({"rate": Float("rate", (0, 1), distribution=Normal(0.5, 0.1))}), "cannot divide rate"),
        (FORBIDDEN, "supports no forbidden clauses"),
    ],
)
def test_spaces_that_cannot_be_divided_evenly_are_refused_at_the_door(method, space, said):
    with pytest.raises(UserError, match=said):
        method(space)


class TestSobol:
    def test_the_points_fill_the_space_evenly_on_its_own_scales(self):
        """Of 64 points, each of the 4 x 4 x 4 equal cells holds one, in each coordinate and on the log scale."""
        points = proposed(Toy(space=TunedNetwork().space), 64)
        lr = np.array([4 * (math.log10(p["lr"]) + 4) / 4 for p in points])
        momentum = np.array([4 * p["momentum"] / 0.999 for p in points])
        assert (np.bincount(lr.astype(int).clip(0, 3)) == 16).all()
        cells = 4 * lr.astype(int).clip(0, 3) + momentum.astype(int).clip(0, 3)
        assert (np.bincount(cells, minlength=16) == 4).all()

    def test_a_shorter_search_is_the_beginning_of_a_longer_one(self, tmp_path):
        toy = Toy(space=TunedNetwork().space)
        toy.evaluate = lambda job: (_ for _ in ()).throw(ValueError)  # all failing: history makes no difference
        short = search(toy, Sobol(toy, 4), Budget(trials=20), tmp_path / "log.jsonl", seed=0)
        long = search(toy, Sobol(toy, 4), Budget(trials=40), tmp_path / "log.jsonl", seed=0)
        assert [t.configuration for t in long][:20] == [t.configuration for t in short]
        assert [t.configuration for t in long] == proposed(toy, 40, seed=4)

    def test_it_ends_when_the_space_is_exhausted(self):
        toy = Toy(space=tiny_space())
        assert len({str(c) for c in proposed(toy, 4)}) == 4
        history = History()
        for _ in range(4):
            history.ask(Sobol(toy, 0).ask(history))
        assert Sobol(toy, 0).ask(history) is None

    def test_the_corners_of_the_unit_cube_are_the_ends_of_every_range(self):
        made = conditional_space()
        low, high = from_unit(made, [0.0] * 5), from_unit(made, [1.0] * 5)
        assert low == {"kernel": 3, "layers": 1, "norm": True, "rate": 1e-5}
        assert high == {"kernel": 7, "layers": 3, "norm": False, "rate": 0.1, "width": 512}


class TestGrid:
    @pytest.mark.parametrize(("trials", "counts"), [(1, (1, 1, 1)), (8, (2, 2, 2)), (25, (4, 3, 2)), (27, (3, 3, 3))])
    def test_as_even_as_the_trials_allow(self, trials, counts):
        assert tuple(even_counts(TunedNetwork().space, trials).values()) == counts

    def test_choices_and_whole_numbers_have_no_more_values_than_there_are(self):
        made = ConfigurationSpace()
        made.add(Integer("layers", (1, 2)), Float("rate", (0.0, 1.0)))
        assert even_counts(made, 12) == {"layers": 2, "rate": 6}

    def test_values_are_the_middles_of_equal_parts_on_the_parameters_scale(self):
        points = grid(TunedNetwork().space, {"lr": 2, "momentum": 1, "weight_decay": 2})
        assert sorted({p["lr"] for p in points}) == pytest.approx([1e-3, 1e-1])
        assert [p["momentum"] for p in points] == pytest.approx([0.4995] * 4)
        assert sorted({p["weight_decay"] for p in points}) == pytest.approx([1e-6 + 99e-6 / 4, 1e-6 + 3 * 99e-6 / 4])
        assert [p["weight_decay"] > 5e-5 for p in points] == [False, True, False, True], "the last runs fastest"

    def test_what_differs_only_in_inactive_hyperparameters_appears_once(self):
        points = grid(conditional_space(), {"layers": 3, "width": 2, "rate": 1, "kernel": 1, "norm": 1})
        assert len(points) == 1 + 2 * 2 and sum("width" not in p for p in points) == 1

    def test_seeds_shuffle_the_order_and_nothing_else(self):
        counts = even_counts(TunedNetwork().space, 24)
        plain, one, same, other = (
            grid(TunedNetwork().space, counts, rng and np.random.default_rng(rng)) for rng in (None, 1, 1, 2)
        )
        assert one == same != other and one != plain
        assert sorted(map(str, one)) == sorted(map(str, other)) == sorted(map(str, plain))

    @pytest.mark.parametrize(
        ("counts", "said"),
        [
            ({"lr": 2}, "the space has lr, momentum, weight_decay; give exactly these a count, not {'lr': 2}"),
            (None, "give exactly these a count, not None"),
            ({"lr": 2, "momentum": 2, "weight_decay": 2, "depth": 2}, "not {'lr'.*'depth': 2}"),
            *(
                ({"lr": count, "momentum": 2, "weight_decay": 2}, f"grid: values of lr: {count!r}; give a whole number")
                for count in (0, 2.5, "2", None, True)
            ),
        ],
    )
    def test_refuses_other_counts(self, counts, said):
        with pytest.raises(UserError, match=said):
            grid(TunedNetwork().space, counts)
        with pytest.raises(UserError, match="no grid has 0 points"):
            even_counts(TunedNetwork().space, 0)
