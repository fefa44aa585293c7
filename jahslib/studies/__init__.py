"""The studies: one module for what a notebook runs, one for its tables."""

from importlib import import_module
from typing import Any

MODULES = {
    "01_growing_bohb": "growing_bohb",
    "02_growing_thresholds": "growing_thresholds",
    "03_grammar_search": "grammar_search",
    "04_surrogate_regression": "surrogate_regression",
    "05_darts_bohb": "darts_bohb",
    "06_ax_bo": "ax_bo",
    "07_constrained_EA": "constrained_ea",
    "08_head_to_head": "head_to_head",
}


def check(notebook: str, parameters: dict[str, Any]) -> None:
    """Refuse parameters with which a notebook cannot work, before anything is written.

    Raises:
        UserError: an unknown or impossible value, a missing data set, a trial log of another search.
    """
    if notebook in MODULES:
        module = import_module(f"jahslib.studies.{MODULES[notebook]}")
        module.check(module.options(**parameters))
