"""Models, search spaces, optimizers and a search loop for joint architecture and HP search.

    from jahslib import Budget, Constraint, Fidelity, Job, Objective, Outcome, Problem, search

Names are imported on first use, so that `import jahslib` needs only the standard library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jahslib.core.declarations import Constraint, Fidelity, Objective
    from jahslib.core.problem import Job, Outcome, Problem
    from jahslib.core.trials import History, Suggestion, Trial
    from jahslib.search import Budget, search

__all__ = [
    "Budget",
    "Constraint",
    "Fidelity",
    "History",
    "Job",
    "Objective",
    "Outcome",
    "Problem",
    "Suggestion",
    "Trial",
    "search",
]

_HOMES = {
    **dict.fromkeys(("Constraint", "Fidelity", "Objective"), "jahslib.core.declarations"),
    **dict.fromkeys(("Job", "Outcome", "Problem"), "jahslib.core.problem"),
    **dict.fromkeys(("History", "Suggestion", "Trial"), "jahslib.core.trials"),
    "Budget": "jahslib.search",
}


def __getattr__(name: str) -> Any:
    if name == "search":  # the package, which can be called as the function; see there
        return import_module("jahslib.search")
    if name == "__version__":
        from importlib.metadata import version

        return version("jahslib")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
