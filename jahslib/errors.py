"""The errors of this library, under one base."""

import difflib
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin


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


def refuse_other_choices(made: Any, place: str = "") -> None:
    """Raise `UserError` for the first field of a data class whose value its `Literal` does not list.

    `place` precedes the field's name in the message.
    """
    for field in fields(made):
        choices = get_args(field.type) if get_origin(field.type) is Literal else ()
        if choices and (value := getattr(made, field.name)) not in choices:
            raise UserError(f"{place}{field.name}: {value!r} is unknown; choose one of {', '.join(map(str, choices))}")
