"""The errors of this library, under one base."""

import difflib
from collections.abc import Iterable


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
    for name in sorted(set(names).difference(known)):
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
        raise UserError(f"{what} {name!r} is unknown; {hint}")
