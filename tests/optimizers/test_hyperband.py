import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jahslib.errors import UserError
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.hyperband import plan
from jahslib.optimizers.successive_halving import ASHA, Hyperband
from tests.conftest import Toy


def test_study_07s_plan():
    brackets = [[(r.members, r.fidelity) for r in rungs] for rungs in plan(2, 50, 2, rounding="published")]
    assert brackets == [
        [(16, 3), (8, 6), (4, 12), (2, 24), (1, 48)],
        [(10, 6), (5, 12), (2, 24), (1, 48)],
        [(7, 12), (3, 24), (1, 48)],
        [(5, 25), (2, 50)],
        [(5, 50)],
    ]


def test_one_iteration_costs_851_epochs_and_keeps_ten():
    cost = kept = 0
    for rungs in plan(2, 50, 2, rounding="published"):
        before = 0
        for rung in rungs:
            cost += rung.members * (rung.fidelity - before)
            before = rung.fidelity
        kept += rungs[-1].members
    assert (cost, kept) == (851, 1 + 1 + 1 + 2 + 5)


def test_with_whole_bounds_lower_rungs_are_rounded_to_whole_ones():
    brackets = [[(r.members, r.fidelity) for r in rungs] for rungs in plan(1, 52, 3)]
    assert brackets == [[(27, 2), (9, 6), (3, 17), (1, 52)], [(12, 6), (4, 17), (1, 52)], [(6, 17), (2, 52)], [(4, 52)]]
    assert all(type(r.fidelity) is int for rungs in plan(1, 52, 3) for r in rungs)


def test_fractions_stay_what_they_are():
    assert [r.fidelity for r in plan(0.03, 1.0, 3)[0]] == pytest.approx([1 / 27, 1 / 9, 1 / 3, 1.0])
    assert len(plan(0.1, 0.9, 3)[0]) == 3, "0.1 * 9 is not 0.9 in floating point"


whole = st.tuples(st.integers(1, 30), st.integers(0, 10**6)).map(lambda r: (r[0], r[0] + r[1]))
fractions = st.tuples(st.floats(1e-3, 1), st.floats(1, 1e4)).map(lambda r: (r[0], r[0] * r[1]))


@given(whole | fractions, st.integers(2, 5))
def test_every_plan_ends_at_the_highest_fidelity_stays_in_range_and_shrinks(bounds, eta):
    low, high = bounds
    for rungs in plan(low, high, eta):
        fidelities, members = [r.fidelity for r in rungs], [r.members for r in rungs]
        assert fidelities[-1] == high and low * (1 - 1e-9) <= fidelities[0]
        assert all(a < b and abs(b - a * eta) <= (eta + 1) / 2 * (1 + 1e-9) for a, b in pairwise(fidelities))
        assert all(1 <= b <= max(1, a // eta) for a, b in pairwise(members))


@given(st.integers(1, 30), st.integers(0, 200), st.integers(2, 5))
def test_every_published_plan_stays_in_range_and_shrinks(low, extra, eta):
    high = low + extra
    for rungs in plan(low, high, eta, rounding="published"):
        fidelities, members = [r.fidelity for r in rungs], [r.members for r in rungs]
        assert low <= fidelities[0] and fidelities[-1] <= high < fidelities[-1] * eta
        assert all(b == a * eta for a, b in pairwise(fidelities))
        assert all(1 <= b <= max(1, a // eta) for a, b in pairwise(members))


def test_eta_is_a_whole_number():
    assert plan(1, 9, 3.0) == plan(1, 9, 3)
    for bad in (2.5, math.nan, "3", True, None, 1):
        with pytest.raises(UserError, match=r"hyperband: eta: .*; give a whole number of at least 2"):
            plan(1, 9, bad)


@pytest.mark.parametrize("make", [ASHA, Hyperband, lambda *a, **o: Evolution(*a, hyperband=True, **o)])
def test_an_eta_that_is_taken_as_whole_is_described_as_such(make):
    assert make(Toy(), 0, eta=3.0).describe() == make(Toy(), 0, eta=3).describe()


def test_the_published_rounding_needs_whole_fidelities():
    with pytest.raises(UserError, match="give whole fidelities, or 'exact'"):
        plan(0.03, 1.0, 3, rounding="published")


@pytest.mark.parametrize("bad", [(0, 5, 2), (6, 5, 2), (1, 5, 1)])
def test_refuses_what_is_no_plan(bad):
    with pytest.raises(UserError, match="hyperband"):
        plan(*bad)
