from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jahslib.errors import UserError
from jahslib.optimizers.hyperband import plan


def test_study_07s_plan():
    brackets = [[(r.members, r.fidelity) for r in rungs] for rungs in plan(2, 50, 2)]
    assert brackets == [
        [(16, 3), (8, 6), (4, 12), (2, 24), (1, 48)],
        [(10, 6), (5, 12), (2, 24), (1, 48)],
        [(7, 12), (3, 24), (1, 48)],
        [(5, 25), (2, 50)],
        [(5, 50)],
    ]


def test_one_iteration_costs_851_epochs_and_keeps_ten():
    cost = kept = 0
    for rungs in plan(2, 50, 2):
        before = 0
        for rung in rungs:
            cost += rung.members * (rung.fidelity - before)
            before = rung.fidelity
        kept += rungs[-1].members
    assert (cost, kept) == (851, 1 + 1 + 1 + 2 + 5)


@given(st.integers(1, 30), st.integers(0, 200), st.integers(2, 5))
def test_every_plan_stays_in_range_and_shrinks(low, extra, eta):
    high = low + extra
    for rungs in plan(low, high, eta):
        fidelities, members = [r.fidelity for r in rungs], [r.members for r in rungs]
        assert low <= fidelities[0] and fidelities[-1] <= high < fidelities[-1] * eta
        assert all(b == a * eta for a, b in pairwise(fidelities))
        assert all(1 <= b <= max(1, a // eta) for a, b in pairwise(members))
    assert [r.fidelity for r in plan(low, high, eta)[-1]] == [high]


@pytest.mark.parametrize("bad", [(0, 5, 2), (6, 5, 2), (1, 5, 1)])
def test_refuses_what_is_no_plan(bad):
    with pytest.raises(UserError, match="hyperband"):
        plan(*bad)
