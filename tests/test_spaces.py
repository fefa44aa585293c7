import numpy as np
import pytest
from ConfigSpace import Categorical, Configuration, ConfigurationSpace
from hypothesis import given
from hypothesis import strategies as st

from jahslib import spaces
from jahslib.errors import UserError
from tests.conftest import conditional_space

SPACE = conditional_space()
seeds = st.integers(0, 2**32 - 1)


@given(seeds)
def test_samples_are_plain_valid_and_reproducible(seed):
    one, two = (spaces.sample(SPACE, np.random.default_rng(seed)) for _ in range(2))
    assert one == two == spaces.complete(SPACE, one)
    assert ("width" in one) == (one["layers"] > 1)
    assert {type(v) for v in one.values()} <= {int, float, bool, str}


@given(seeds, st.sampled_from(["layers", "rate", "kernel", "norm", "width"]))
def test_resampled_values_are_legal(seed, name):
    assert SPACE[name].legal_value(spaces.resample(SPACE, name, np.random.default_rng(seed)))


def test_completing_drops_inactive_and_activates_with_the_default():
    values = {"layers": 1, "width": 7, "rate": 0.01, "kernel": 5, "norm": False}
    assert "width" not in spaces.complete(SPACE, values)
    grown = spaces.complete(SPACE, {k: v for k, v in values.items() if k != "width"} | {"layers": 2})
    assert grown["width"] == 256


@pytest.mark.parametrize(
    ("values", "said"), [({"layers": 9}, "layers=9 is outside"), ({"depth": 1}, "unknown hyperparameter 'depth'")]
)
def test_completing_names_what_is_wrong(values, said):
    with pytest.raises(UserError, match=said):
        spaces.complete(SPACE, values)


def test_rejection_sampling_gives_up():
    assert spaces.sample_where(SPACE, np.random.default_rng(0), lambda c: False, attempts=5) is None


def test_keys_ignore_order_and_tell_values_apart():
    assert spaces.key({"a": 1, "b": 0.5}) == spaces.key({"b": 0.5, "a": 1}) != spaces.key({"a": 1, "b": 0.25})


@pytest.mark.parametrize("choices", [[0.1, float("inf")], [(1, 2), (3,)]])
def test_choices_that_a_log_cannot_hold_are_refused(choices):
    with pytest.raises(UserError, match="name it by a text"):
        spaces.refuse_unloggable(ConfigurationSpace({"a": Categorical("a", choices)}))


def test_a_choice_that_is_never_drawn_is_refused():
    with pytest.raises(UserError, match="'b' of a has weight 0"):
        spaces.refuse_unloggable(ConfigurationSpace({"a": Categorical("a", ["a", "b"], weights=[1, 0])}))


@given(seeds)
def test_what_is_drawn_by_itself_is_what_configspace_gives_back(seed):
    drawn = spaces.activated(SPACE, {}, np.random.default_rng(seed))
    assert spaces.plain(Configuration(SPACE, values=drawn)) == drawn
