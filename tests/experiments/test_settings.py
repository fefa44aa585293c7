"""A notebook's settings: what is given over the profile's values over the defaults, each of its user's type."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from pydantic import PositiveInt

from jahslib.errors import UserError
from jahslib.experiments.settings import Seeds, Settings, Several, assigned, checked

PROFILES = {
    "smoke": {"note": "tiny", "epochs": 1, "seeds": (0,), "parts": ("a", "b")},
    "cpu": {"note": "small", "epochs": 10, "seeds": (0, 1), "limit": 3.0, "parts": ("a", "b")},
    "paper": {"note": "whole", "epochs": 100, "seeds": (0, 1), "parts": ("a", "b")},
}


@dataclass
class Task:
    seed: int
    epochs: int = 5
    limit: float | None = 7.0
    kind: Literal["plain", "fancy"] = "plain"
    inner: dict[str, Any] = field(default_factory=dict)
    trace_every: int = 0
    extras: tuple[str, ...] = ()
    device: str = "cpu"


def method(problem, seed, eta: int = 3, limit: float | None = None):
    """An optimizer that is a function."""


def settings(profile="cpu", cell=("epochs", "limit", "kind", "inner", "eta", "extra"), **given):
    """As in a notebook into which papermill put `given`."""
    namespace = {"device": "cpu", **dict.fromkeys(cell), "profile": profile, **given}
    namespace["In"] = ["\n".join(["profile = 'smoke'", *(f"{name} = None" for name in cell)]), "# Parameters\n"]
    namespace["In"][1] += "".join(f"{name} = 1\n" for name in given)
    types = {"extra": PositiveInt, "parts": tuple[str, ...], "table_seeds": Seeds}
    return Settings(namespace, PROFILES, Task, method, **types)


def test_what_is_given_goes_before_the_profile_and_that_before_the_default():
    assert settings().epochs == 10 and settings(epochs=3).epochs == 3
    assert settings().limit == 3.0 and settings("smoke").limit == 7.0 and settings().eta == 3
    assert settings().extra is None and settings().note == "small" and settings().device == "cpu"


def test_of_gives_each_user_its_own_parameters_that_somebody_set():
    made = settings(eta=2, inner={"a": 1})
    assert made.of(Task) == {"epochs": 10, "limit": 3.0, "inner": {"a": 1}, "device": "cpu"}
    assert made.of(method) == {"limit": 3.0, "eta": 2}
    assert Task(0, **settings("smoke").of(Task)) == Task(0, epochs=1)


def test_a_type_given_by_name_is_no_users_whatever_its_name():
    """Such as a switch between two methods that is also an option of one."""
    namespace = {"profile": "smoke", "device": "cpu", "eta": 2}
    made = Settings(namespace, PROFILES, Task, method, eta=int | None, parts=tuple[str, ...])
    assert made.eta == 2 and made.of(method) == {}
    assert Settings(namespace | {"eta": None}, PROFILES, Task, method, eta=int, parts=tuple[str, ...]).eta is None


def test_none_in_words_is_none_and_none_is_the_profiles():
    for value, limit in ((None, 3.0), ("none", None), ("None", None), (2, 2.0), ("1e-3", 1e-3)):
        assert settings(limit=value).limit == limit
    with pytest.raises(UserError, match="epochs: 'none'"):  # which cannot be None
        settings(epochs="none")


def test_defaults_that_can_change_are_each_settings_own():
    settings().inner["a"] = 1
    assert settings().inner == {}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"profile": "papr"}, "profile: 'papr' is unknown; did you mean 'paper'"),
        ({"epoch": 3}, "parameter 'epoch' is unknown; did you mean 'epochs'?"),
        ({"trace_every": 3}, "parameter 'trace_every' is unknown"),  # a field that the notebook sets itself
        ({"epochs": "x"}, r"epochs: 'x' \(str\); give a valid integer"),
        ({"epochs": 2.5}, r"epochs: 2.5 \(float\); give a valid integer"),
        ({"epochs": True}, "epochs: True is a flag"),
        ({"limit": False}, "limit: False is a flag"),
        ({"data_dir": "/nowhere"}, "data_dir: no folder /nowhere"),
        ({"kind": "odd"}, r"kind: 'odd' \(str\); give 'plain' or 'fancy'"),
        ({"limit": float("nan")}, 'limit: nan; give finite numbers .or "none" for no limit'),
        ({"limit": "nan"}, 'limit: .nan.*give a finite number .or "none"'),
        ({"inner": {"rate": [1.0, float("inf")]}}, "inner: .*; give finite numbers"),
        ({"extra": 0}, r"extra: 0 \(int\); give greater than 0"),
        ({"workers": 0}, "workers: 0"),
        ({"seeds": 3}, "seeds: 3 .int.; give a valid tuple"),
        ({"seeds": []}, "seeds: .*give at least one"),
        ({"seeds": [1, 1]}, "seeds: .*1 is given twice"),
        ({"table_seeds": [-1]}, "table_seeds: .*greater than or equal to 0"),
        ({"seeds": [2**32]}, "seeds: .*less than"),
        ({"device": "gpu"}, "device: 'gpu' is unknown; choose one of auto, cpu, cuda, cuda:N"),
        ({"device": "cuda:1"}, "device: no cuda:1 here .CUDA devices: 0.; use cpu"),
    ],
)
def test_refuses_what_no_study_works_with_in_one_line(bad, said, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=said) as error:
        settings(**bad)
    assert "\n" not in str(error.value)


def test_a_name_in_the_cell_or_the_table_that_nobody_uses_is_refused():
    with pytest.raises(UserError, match="parameter 'epochz' is unknown; did you mean 'epochs'"):
        settings(cell=("epochz",))
    with pytest.raises(UserError, match="parameter 'epoks' is unknown"):
        Settings({"profile": "cpu"}, {"cpu": {"epoks": 1}}, Task)
    with pytest.raises(UserError, match="epochs: 'many'"):
        Settings({"profile": "cpu"}, {"cpu": {"epochs": "many"}}, Task)


def test_a_plain_program_gives_what_it_likes():
    assert Settings({"profile": "cpu", "kind": "fancy", "device": "cpu"}, PROFILES, Task, parts=tuple).kind == "fancy"


METHODS = {"a": 1, "b": 2, "c": 3}


class TestPick:
    def test_all_where_only_the_user_of_the_setting_has_a_default(self):
        made = settings(cell=("extras",))
        assert made.pick("extras", METHODS) == METHODS and settings(cell=("extras",), extras=["b"]).pick(
            "extras", METHODS
        ) == {"b": 2}

    def test_all_or_those_asked_for_in_that_order(self):
        assert settings().pick("methods", METHODS) == METHODS and settings().left_out == {}
        made = settings(methods=["c", "a"])
        assert list(made.pick("methods", METHODS)) == ["c", "a"] and made.left_out == {"methods": ["b"]}

    def test_what_another_setting_leaves_out_is_left_out_and_named(self):
        made = settings()
        assert list(made.pick("methods", METHODS, without=("b",))) == ["a", "c"] and made.left_out == {"methods": ["b"]}
        with pytest.raises(UserError, match="methods: none given; give at least one of a, c"):
            settings(methods=["b"]).pick("methods", METHODS, without=("b",))

    @pytest.mark.parametrize(("bad", "said"), [(["d"], "methods: 'd' is unknown"), ([], "methods: none given")])
    def test_refuses_none_and_the_unknown(self, bad, said):
        with pytest.raises(UserError, match=said):
            settings(methods=bad).pick("methods", METHODS)


def test_parts_of_a_profile_that_a_run_leaves_out_are_named():
    assert settings(parts=["b"], seeds=[0]).left_out == {"parts": ["a"]}


def test_what_stands_in_for_a_profiles_value_is_noted_and_left_out():
    made = settings()
    made.stand_in("parts", ("c",), "a and b were not at hand")
    assert made.parts == ("c",) and made.note == "small; a and b were not at hand"
    assert made.left_out == {"parts": ["a", "b"]}
    given = settings(cell=("parts",), parts=("a",))
    given.stand_in("parts", ("c",), "no")
    assert given.parts == ("a",) and given.note == "small"
    same = settings()
    same.stand_in("parts", ("a", "b"), "no")
    assert same.note == "small"


def test_one_stands_for_several():
    for value, found in (("a", ("a",)), (["a", "b"], ("a", "b")), ((), ())):
        assert checked("parts", value, Several[str]) == found
    assert checked("sizes", 3, Several[int]) == (3,)
    with pytest.raises(UserError, match="sizes: 'a'"):
        checked("sizes", "a", Several[int])


def test_assigned_names_of_a_cell():
    assert assigned("a = b = 1\nif a:\n    c = 2\n") == {"a", "b"} and assigned("%time x = 1") == set()
