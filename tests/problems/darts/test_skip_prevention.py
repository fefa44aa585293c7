import pytest
import torch

from jahslib.models.darts.cell import OPERATIONS
from jahslib.problems.darts.skip_prevention import count_skips, ranking_is_stable, surrogate_fraction


def test_the_class_projects_schedule_goes_from_just_under_a_half_to_exactly_0():
    for epochs in (1, 5, 20, 50):
        values = [surrogate_fraction(e, epochs) for e in range(epochs)]
        assert values[0] == pytest.approx((1 - 1 / epochs) / 2) and values[0] < 0.5
        assert values[-1] == 0 and values == sorted(values, reverse=True)
    assert surrogate_fraction(0, 20) == pytest.approx(0.475)


@pytest.mark.parametrize(
    ("schedule", "at_25", "at_49"),
    [("linear", 0.5, 0.02), ("cosine", 0.5, 0.000987), ("slow_cosine", 0.70711, 0.03141)],
)
def test_the_schedules_of_darts_minus(schedule, at_25, at_49):
    values = [surrogate_fraction(e, 50, schedule, 1.0) for e in range(50)]
    assert values[0] == 1
    assert (values[25], values[49]) == pytest.approx((at_25, at_49), rel=2e-3)
    assert surrogate_fraction(25, 50, schedule, 0.2) == pytest.approx(0.2 * at_25, rel=1e-3)


def test_without_prevention_there_is_no_surrogate():
    assert {surrogate_fraction(e, 9, "none") for e in range(9)} == {0.0}


def probabilities(*of_identity):
    p = torch.full((6, 5), 0.1)
    p[:, OPERATIONS.index("conv")] = 0.3
    p[:, OPERATIONS.index("identity")] = torch.tensor(of_identity)
    return p


def test_a_skip_is_the_most_probable_operation_and_above_the_threshold():
    assert count_skips(probabilities(0.35, 0.31, 0.29, 0.1, 0.4, 0.0), 0.25) == 3
    assert count_skips(probabilities(0.35, 0.31, 0.29, 0.1, 0.4, 0.0), 0.33) == 2
    assert count_skips(probabilities(0.35, 0.35, 0.1, 0.1, 0.1, 0.1), 0.35) == 0  # above, not at


def test_a_ranking_is_stable_when_unchanged_for_so_many_epochs():
    same = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    grown = same + 0.1 * same  # the same order
    skipping = same.clone()
    skipping[:, [OPERATIONS.index("identity"), OPERATIONS.index("zero")]] += 9  # these two learn nothing
    swapped = same.clone()
    swapped[4, [2, 3]] = same[4, [3, 2]]
    assert ranking_is_stable([swapped, same, grown, skipping], 2)
    assert not ranking_is_stable([swapped, same, grown, skipping], 3)
    assert not ranking_is_stable([same, same], 2)  # too few epochs to tell
