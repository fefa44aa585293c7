"""The studies whose notebooks do not say what is run: one module for that, one for its tables."""

from importlib import import_module
from pathlib import Path
from typing import Any

from jahslib.experiments.notebook import experiment, is_described, path_of

MODULES = {
    "08_head_to_head": "head_to_head",
}


def check(notebook: str | Path, parameters: dict[str, Any]) -> None:
    """Refuse parameters with which a notebook cannot work, before anything is written.

    Args:
        notebook: its path, or its name in the project's folder.

    Raises:
        UserError: an unknown or impossible value, a missing data set, a trial log of another search.
    """
    path = path_of(notebook)
    if path.stem in MODULES:
        module = import_module(f"jahslib.studies.{MODULES[path.stem]}")
        module.check(module.options(**parameters))
    elif is_described(path):
        experiment(path, parameters).study.check()


def searches(notebook: str, parameters: dict[str, Any]) -> list[Any]:
    """A notebook's searches as they would be run (`jahslib.search.runs.Run`), in the order of their logs' names.

    Studies that search nothing, or train what another one found, have none. What a search needs of an earlier step
    (study 05's cells) is read from that step's logs.

    Raises:
        UserError: as `check`.
    """
    if notebook not in MODULES:
        return sorted(experiment(notebook, parameters).study.planned, key=lambda run: run.log.name)
    module = import_module(f"jahslib.studies.{MODULES[notebook]}")
    options = module.options(**parameters)
    if not hasattr(module, "searches"):
        return []
    every = getattr(module, "planned", module.searches)(options)
    return sorted(every, key=lambda run: run.log.name)
