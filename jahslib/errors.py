"""The errors of this library, under one base."""

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin


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


WHOLE = Bounds(-math.inf, 2**63 - 1)  # NumPy and others count in 64 bits
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
    if number and kind is int and bounds.admit(value) and not WHOLE.admit(value):
        raise UserError(f"{place}: {value!r}; give a whole number of at most {WHOLE.high}")
    if not number or not bounds.admit(value) or (kind is int and value != int(value)):
        raise UserError(f"{place}: {value!r}; give a {'whole ' if kind is int else ''}number {bounds}")
    return int(value) if kind is int or isinstance(value, Integral) else float(value)


def refuse_illegal(made: Any, place: str = "") -> None:
    """Raise `UserError` for the first field of a data class whose value its type does not admit.

    A `Literal` lists the legal values, `Bounds` are those of a number; flags, texts, dictionaries and tuples (or lists)
    are told from other values. None is legal where the type has it. `place` precedes the field's name in the message.
    """
    for field in (field for field in fields(made) if field.init):
        value, name = getattr(made, field.name), f"{place}{field.name}"
        hints = get_args(field.type) if get_origin(field.type) in (Union, UnionType) else (field.type,)
        if value is None and NoneType in hints:
            continue
        for hint in hints:
            if get_origin(hint) is Literal and value not in get_args(hint):
                raise UserError(f"{name}: {value!r} is unknown; choose one of {', '.join(map(str, get_args(hint)))}")
            if get_origin(hint) is Annotated:
                object.__setattr__(made, field.name, bounded(name, value, hint))
        hints = [hint for hint in hints if hint is not NoneType]
        if all((get_origin(hint) or hint) in _KINDS for hint in hints) and not any(_is_a(value, h) for h in hints):
            wanted = (_KINDS[get_origin(hint) or hint] or f"a {hint}" for hint in hints)
            raise UserError(f"{name}: {value!r}; give {' or '.join(wanted)}")


_KINDS = {bool: "True or False", str: "a text", dict: "a dictionary", tuple: ""}  # of a tuple, its type


def _is_a(value: Any, hint: Any) -> bool:
    """Tell whether a value is of a type, if that is one of `_KINDS`, or an int in a tuple; else True."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind is tuple:
        alike = Ellipsis in parts
        fits = isinstance(value, tuple | list) and (alike or len(value) == len(parts))
        return fits and all(_is_a(item, parts[0 if alike else place]) for place, item in enumerate(value))
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    return isinstance(value, kind) if kind in _KINDS else True
