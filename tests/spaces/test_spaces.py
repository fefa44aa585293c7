import numpy as np
import pytest
from ConfigSpace import (
    AndConjunction,
    Categorical,
    Configuration,
    ConfigurationSpace,
    EqualsCondition,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    GreaterThanCondition,
    LessThanCondition,
    NotEqualsCondition,
    OrConjunction,
    OrdinalHyperparameter,
)
from hypothesis import given
from hypothesis import strategies as st

from jahslib.errors import UserError
from jahslib.spaces import configurations as spaces
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.space import GrammarSpace
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
    assert SPACE[name].legal_value(spaces.drawn(SPACE, name, np.random.default_rng(seed)))


def test_completing_drops_inactive_and_activates_with_the_default():
    values = {"layers": 1, "width": 7, "rate": 0.01, "kernel": 5, "norm": False}
    assert "width" not in spaces.complete(SPACE, values)
    grown = spaces.complete(SPACE, {k: v for k, v in values.items() if k != "width"} | {"layers": 2})
    assert grown["width"] == 256


@given(seeds)
def test_drawing_what_becomes_active_gives_valid_configurations_and_keeps_the_rest(seed):
    rng = np.random.default_rng(seed)
    values = {"layers": int(rng.integers(1, 4)), "kernel": 5, "norm": False, "rate": spaces.drawn(SPACE, "rate", rng)}
    drawn = spaces.activated(SPACE, values, rng)
    assert drawn == spaces.complete(SPACE, drawn) and ("width" in drawn) == (values["layers"] > 1)
    assert drawn["rate"] == pytest.approx(values["rate"], abs=1e-12) and list(drawn) == sorted(drawn)
    assert spaces.activated(SPACE, {**values, "width": 7}, rng).get("width", 7) == 7


def test_what_becomes_active_is_drawn_from_its_prior_or_at_its_default():
    rng, shallow = np.random.default_rng(0), {"layers": 1, "rate": 0.01, "kernel": 5, "norm": False}
    widths = {"drawn": set(), "default": set()}
    for newly_active, found in widths.items():
        children = (spaces.mutate(SPACE, shallow, rng, newly_active) for _ in range(200))
        found |= {child["width"] for child in children if "width" in child}
    assert widths["default"] == {256} and len(widths["drawn"]) > 15


def test_conjunctions_are_followed_as_configspace_follows_them():
    """Nested conditions with and, or, and comparisons of ordinals, from 300 points of the box of all values."""
    space = ConfigurationSpace(
        {"a": (1, 4), "b": ["x", "y"], "c": (0.0, 1.0), "d": (0.0, 1.0), "e": [True, False], "f": (1, 3)}
    )
    ordinal = OrdinalHyperparameter("o", ["low", "mid", "high"])
    space.add(ordinal)
    a, b, c, d, e, f = (space[name] for name in "abcdef")
    space.add(
        EqualsCondition(c, b, "x"),
        AndConjunction(GreaterThanCondition(d, a, 1), EqualsCondition(d, b, "y")),
        OrConjunction(NotEqualsCondition(e, b, "x"), LessThanCondition(e, a, 3)),
        AndConjunction(EqualsCondition(f, e, True), GreaterThanCondition(f, ordinal, "low")),
    )
    rng = np.random.default_rng(0)
    for _ in range(300):
        box = {name: spaces.drawn(space, name, rng) for name in space}
        assert spaces.activated(space, box, rng) == spaces.complete(space, box)


@pytest.mark.parametrize(
    ("values", "said"), [({"layers": 9}, "layers=9 is outside"), ({"depth": 1}, "hyperparameter 'depth' is unknown")]
)
def test_completing_names_what_is_wrong(values, said):
    with pytest.raises(UserError, match=said):
        spaces.complete(SPACE, values)


def test_rejection_sampling_gives_up():
    assert spaces.sample_where(SPACE, np.random.default_rng(0), lambda c: False, attempts=5) is None


def small_space():
    """Every kind of finite hyperparameter, a condition and a forbidden pair: of 48 in the box, some 20."""
    space = ConfigurationSpace({"layers": (1, 3), "width": (7, 8), "fixed": "as ever", "norm": [True, None]})
    grade, other = OrdinalHyperparameter("grade", ["low", 2]), Categorical("other", ["1", 1.5], weights=[0.9, 0.1])
    space.add(grade, other, GreaterThanCondition(space["width"], space["layers"], 1))
    pair = ForbiddenEqualsClause(space["width"], 8), ForbiddenEqualsClause(grade, 2)
    space.add(ForbiddenAndConjunction(*pair))
    return space


def test_all_of_a_small_space_is_what_is_drawn_from_it():
    grammar = Grammar("T: 1-2\nS -> T(A) | a\nA -> b | c")
    for space in (small_space(), GrammarSpace(grammar, small_space()), GrammarSpace(grammar), ConfigurationSpace()):
        listed = {spaces.key(c) for c in spaces.everything(space, 1000)}
        rng = np.random.default_rng(0)
        assert listed == {spaces.key(spaces.sample(space, rng)) for _ in range(40 * len(listed))}
    assert spaces.everything(SPACE, 10**9) is None and spaces.everything(small_space(), 3) is None
    assert spaces.everything(GrammarSpace(grammar), 2) is spaces.everything(GrammarSpace(grammar, SPACE), 99) is None


@pytest.mark.parametrize("left", [0, 1])
def test_a_small_space_that_is_used_up_is_known_soon(left, monkeypatch):
    space, calls = small_space(), []
    used = {spaces.key(c) for c in spaces.everything(space, 1000)}
    rare = next(key for key in sorted(used) if "1.5" in key)
    monkeypatch.setattr(spaces, "sample", lambda *args, s=spaces.sample: calls.append(args) or s(*args))
    used -= {rare} if left else set()
    found = spaces.sample_where(space, np.random.default_rng(0), lambda c: spaces.key(c) not in used)
    assert [spaces.key(found)] == [rare] if left else found is None and len(calls) < 1000


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


def test_a_small_ordinal_keeps_all_its_digits():
    space, rng, values = ConfigurationSpace(), np.random.default_rng(0), [7.742637e-8, 5.994842e-7, 1.0]
    space.add(OrdinalHyperparameter("alpha", values), Categorical("beta", [1.23456789012345e-9, 1.0]))
    start = spaces.sample(space, rng)
    made = [spaces.activated(space, {}, rng) for _ in range(9)]
    made += [spaces.mutate(space, start, rng, way) for way in ("drawn", "default") for _ in range(9)]
    made += [spaces.nudge(space, start, rng) for _ in range(9)]
    assert {c["alpha"] for c in made} == set(values) and len({c["beta"] for c in made}) == 2
    assert 1.23456789012345e-9 in {c["beta"] for c in made}


@given(seeds)
def test_what_is_completed_without_configspace_is_what_it_would_make(seed):
    rng = np.random.default_rng(seed)
    values = spaces.sample(SPACE, rng)
    assert spaces.completed(SPACE, values) == values
    other = {**values, "layers": spaces.drawn(SPACE, "layers", rng)}
    assert spaces.completed(SPACE, other) == spaces.complete(SPACE, other)


@given(seeds)
def test_coordinates_of_many_are_those_of_each(seed):
    rng = np.random.default_rng(seed)
    many = [spaces.sample(SPACE, rng) for _ in range(5)]
    together = spaces.encoded(SPACE, many)
    np.testing.assert_allclose(together, np.concatenate([spaces.encoded(SPACE, [c]) for c in many]), rtol=1e-12)
    assert together.min() >= 0 and together.max() <= 1


def test_ordinals_of_mixed_types_are_encoded_by_rank():
    space = ConfigurationSpace()
    space.add(OrdinalHyperparameter("o", ["low", 1, 2.5]))
    assert spaces.encoded(space, [{"o": v} for v in ("low", 1, 2.5)] + [{}]).ravel().tolist() == [0.0, 0.5, 1.0, 0.0]
