"""The errors of this library, under one base."""

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Annotated, Any, Literal, get_args, get_origin


class JahslibError(Exception):
    """Base of all errors that this library raises of its own."""


class UserError(JahslibError, ValueError):
    """Input that only the user can mend; the message is one line and nothing is left half-written when it is raised."""


class EvaluationError(JahslibError, RuntimeError):
    """An evaluation that failed because of its configuration: its trial fails, and the search goes on.

    Args:
        epochs: what the trial is charged all the same.
    """

    def __init__(self, reason: str, epochs: float = 0.0):
        super().__init__(reason, epochs)
        self.epochs = epochs

    def __str__(self) -> str:
        return str(self.args[0])


def refuse_unknown(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise `UserError` for the first of `names` that is not known, with the nearest one that is."""
    known = list(known)
    for name in sorted(set(names).difference(known), key=str):
        near = difflib.get_close_matches(str(name), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
        raise UserError(f"{what} {name!r} is unknown; {hint}")


@dataclass(frozen=True)
class Bounds:
    """The range of a number, as part of its type: `Annotated[float, Bounds(0, 1)]`. `open` excludes both ends."""

    low: float
    high: float = math.inf
    open: bool = False

    def admit(self, number: Any) -> bool:
        """Tell whether a number lies in the range."""
        return self.low < number < self.high if self.open else self.low <= number <= self.high

    def __str__(self) -> str:
        if self.low == -math.inf:
            return "that is finite"
        if self.high == math.inf:
            return f"above {self.low:g}" if self.open else f"of at least {self.low:g}"
        return f"{'between' if self.open else 'from'} {self.low:g} {'and' if self.open else 'to'} {self.high:.12g}"


Count = Annotated[int, Bounds(1)]
Finite = Annotated[float, Bounds(-math.inf)]
Share = Annotated[float, Bounds(0, 1)]
NotNegative = Annotated[float, Bounds(0)]
Positive = Annotated[float, Bounds(0, open=True)]


def bounded(place: str, value: Any, hint: Any) -> Any:
    """Convert a number to Python's own, as its type `hint` says. Raises `UserError` for one outside its `Bounds`."""
    kind, bounds = get_args(hint)
    try:
        number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        number = False
    if not number or not bounds.admit(value) or (kind is int and value != int(value)):
        raise UserError(f"{place}: {value!r}; give a {'whole ' if kind is int else ''}number {bounds}")
    return int(value) if kind is int or isinstance(value, Integral) else float(value)


def refuse_illegal(made: Any, place: str = "") -> None:
    """Raise `UserError` for the first field of a data class whose value its type does not admit.

    A `Literal` lists the legal values, `Bounds` are those of a number; None is legal where the type has it. `place`
    precedes the field's name in the message.
    """
    for field in (field for field in fields(made) if field.init):
        value, parts = getattr(made, field.name), (field.type, *get_args(field.type))
        for hint in () if value is None and type(None) in parts else parts:
            choices = get_args(hint) if get_origin(hint) is Literal else ()
            if choices and value not in choices:
                raise UserError(
                    f"{place}{field.name}: {value!r} is unknown; choose one of {', '.join(map(str, choices))}"
                )
            if get_origin(hint) is Annotated:
                object.__setattr__(made, field.name, bounded(f"{place}{field.name}", value, hint))
