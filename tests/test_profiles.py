from dataclasses import dataclass

import pytest

from jahslib.errors import UserError
from jahslib.profiles import given, resolve


@dataclass
class Options:
    profile: str
    epochs: int
    device: str = "cpu"


DEFAULTS = {"smoke": {"epochs": 1}, "cpu": {"epochs": 10}, "paper": {"epochs": 100}}


def test_the_profile_sets_what_is_not_given():
    assert resolve(Options, DEFAULTS, {"profile": "cpu", "epochs": None}) == Options("cpu", 10)
    assert resolve(Options, DEFAULTS, {"profile": "paper", "epochs": 3, "device": "cuda"}) == Options(
        "paper", 3, "cuda"
    )


def test_lists_become_tuples_and_auto_a_device():
    @dataclass
    class Seeded:
        profile: str
        seeds: tuple[int, ...]
        device: str = "auto"

    made = resolve(Seeded, {"smoke": {"seeds": (0,)}}, {"profile": "smoke", "seeds": [1, 2]})
    assert made.seeds == (1, 2) and made.device in ("cpu", "cuda")


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
