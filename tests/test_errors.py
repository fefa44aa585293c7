"""Tests of what data classes refuse of their fields' values."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from jahslib.errors import Bounds, UserError, refuse_illegal


@dataclass
class Settings:
    flag: bool = False
    text: str = "a"
    kind: Literal["a", "b"] | None = None
    share: Annotated[float, Bounds(0, 1)] | None = None
    both: tuple[int, int] = (1, 2)
    names: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    either: str | bool | None = None

    def __post_init__(self):
        refuse_illegal(self, "Settings: ")


@pytest.mark.parametrize(
    "bad",
    [
        *({"flag": value} for value in ("no", 1, None)),
        *({"text": value} for value in (1, None)),
        *({"kind": value} for value in ("c", 1)),
        *({"share": value} for value in (2, True, "0.5")),
        *({"both": value} for value in (3, (1,), (1, 2, 3), (1, 2.5), ("1", "2"), (True, 2))),
        *({"names": value} for value in ("ab", ("a", 1), {"a"}, 3)),
        *({"options": value} for value in (None, (), "a")),
        {"either": 1},
    ],
)
def test_a_value_of_another_type_is_refused_by_the_name_of_its_field(bad):
    (name,) = bad
    with pytest.raises(UserError, match=f"^Settings: {name}: .*(give|choose)"):
        Settings(**bad)


def test_values_of_the_fields_types_are_kept():
    given = {"flag": True, "text": "", "kind": "b", "share": 0.5, "both": [0, 3], "names": ("a", "b"), "either": "x"}
    assert vars(Settings(**given, options={"a": 1})) == {**given, "options": {"a": 1}}
    assert vars(Settings(kind=None, share=None))["kind"] is None
