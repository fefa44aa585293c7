from dataclasses import dataclass, field
from typing import Any

import pytest

from jahslib.errors import UserError
from jahslib.experiments.profiles import RunOptions, given, refuse_empty, refuse_less, resolve


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    epochs: int
    note: str = ""
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True, kw_only=True)
class Limited(Options):
    limit: float | None = None
    per_class: int | None = None
    inner: dict[str, Any] = field(default_factory=dict)
    table_seeds: tuple[int, ...] = ()


DEFAULTS = {"smoke": {"epochs": 1}, "cpu": {"epochs": 10}, "paper": {"epochs": 100}}


def test_the_profile_sets_what_is_not_given():
    made = resolve(Options, DEFAULTS, {"profile": "cpu", "epochs": None, "device": "cpu"})
    assert made == Options(profile="cpu", epochs=10, device="cpu")
    made = resolve(Options, DEFAULTS, {"profile": "paper", "epochs": 3, "device": "cpu"})
    assert made == Options(profile="paper", epochs=3, device="cpu")


def test_none_in_words_is_none_and_none_is_the_profiles():
    limited = {"cpu": {"epochs": 1, "limit": 3.0}}
    for value, limit in ((None, 3.0), ("none", None), ("None", None), (2, 2.0)):
        assert resolve(Limited, limited, {"profile": "cpu", "device": "cpu", "limit": value}).limit == limit
    with pytest.raises(UserError, match=r"epochs is 'none' \(str\); expected int"):  # which cannot be None
        resolve(Limited, limited, {"profile": "cpu", "epochs": "none"})


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"workers": 0}, "workers: 0; give at least 1"),
        ({"device": "gpu"}, "device: 'gpu' is unknown; choose one of auto, cpu, cuda, cuda:N"),
        ({"device": "cuda"}, "device: no cuda here .CUDA devices: 0.; use cpu"),
        ({"device": "cuda:1"}, "device: no cuda:1 here"),
        ({"limit": float("nan")}, 'parameter limit is nan; give finite numbers .or "none" for no limit'),
        ({"limit": float("inf")}, "parameter limit is inf; give finite numbers"),
        ({"limit": "nan"}, "parameter limit is 'nan'"),
        ({"inner": {"rate": [1.0, float("nan")]}}, "parameter inner is .*; give finite numbers"),
        ({"table_seeds": [1, 1]}, "table_seeds: 1 is given twice"),
        ({"per_class": -5}, "per_class: -5; give at least 1"),
    ],
)
def test_refuses_what_no_study_works_with(bad, said, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=said):
        resolve(Limited, DEFAULTS, {"profile": "cpu", "device": "cpu"} | bad)


def test_lists_become_tuples_and_auto_a_device():
    made = resolve(Options, DEFAULTS, {"profile": "smoke", "seeds": [1, 2]})
    assert made.seeds == (1, 2) and made.device in ("cpu", "cuda")


def test_a_value_of_another_type_is_refused_by_name():
    for name, value, said in (("epochs", "x", "epochs is 'x' .str.; expected int"), ("seeds", 3, "a list of int")):
        with pytest.raises(UserError, match=f"parameter .*{said}"):
            resolve(Options, DEFAULTS, {"profile": "smoke", name: value})


def test_an_option_that_is_too_small_is_named():
    refuse_less(Options(profile="cpu", epochs=1), 1, "epochs")
    refuse_less(Options(profile="cpu", epochs=1), 1, "scheduler")  # None: not given
    with pytest.raises(UserError, match="epochs: 0; give at least 1"):
        refuse_less(Options(profile="cpu", epochs=0), 1, "workers", "epochs")


def test_an_option_that_must_hold_something_is_named():
    refuse_empty(Options(profile="cpu", epochs=1), "seeds")
    with pytest.raises(UserError, match="seeds: none given; give at least one"):
        refuse_empty(Options(profile="cpu", epochs=1, seeds=()), "profile", "seeds")


def test_refuses_unknown_profiles_and_options():
    with pytest.raises(UserError, match="profile: 'papr' is unknown; choose one of smoke, cpu, paper"):
        resolve(Options, DEFAULTS, {"profile": "papr"})
    with pytest.raises(UserError, match="'epoch' is unknown; did you mean 'epochs'"):
        resolve(Options, DEFAULTS, {"profile": "cpu", "epoch": 3})


def test_a_parameter_that_papermill_injected_by_a_wrong_name_reaches_the_check():
    namespace = {
        "In": ["", "profile = 'smoke'\nepochs = None", "# Parameters\nprofile = 'cpu'\nepoch = 3\n"],
        "profile": "cpu",
        "epochs": None,
        "epoch": 3,
        "histories": {},  # defined by a later cell
    }
    found = given(namespace, Options)
    assert found == {"profile": "cpu", "epochs": None, "epoch": 3}
    with pytest.raises(UserError, match="did you mean"):
        resolve(Options, DEFAULTS, found)
