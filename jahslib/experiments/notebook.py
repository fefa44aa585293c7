"""A notebook's experiment without its runs: the cells tagged `parameters` and `experiment`, which train nothing."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jahslib.errors import UserError
from jahslib.paths import home, is_checkout, results

FOLDER = home() / "notebooks"


def in_folder(folder: Path = FOLDER) -> list[Path]:
    """List a folder's notebooks in order: in the project the studies, which are numbered, elsewhere all."""
    return sorted(folder.glob("[0-9][0-9]_*.ipynb" if is_checkout() else "*.ipynb"))


def notebooks() -> list[str]:
    """List the studies' names, such as "01_growing_bohb", in order."""
    return [path.stem for path in in_folder()]


def path_of(notebook: str | Path) -> Path:
    """Return a notebook's path, from a path or the name of one in the folder `notebooks`."""
    return notebook if isinstance(notebook, Path) else FOLDER / f"{notebook}.ipynb"


def cells(notebook: str | Path, tag: str = "") -> list[str]:
    """Read the sources of a notebook's code cells, or of those with a tag. Raises `UserError` if there is none."""
    path = path_of(notebook)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = [cell for cell in found if cell["cell_type"] == "code"]
        return ["".join(c["source"]) for c in code if not tag or tag in c["metadata"].get("tags", [])]
    except OSError as error:
        mend = "" if FOLDER.exists() else "; run this in a copy of the project, or beside your folder notebooks"
        raise UserError(f"{path}: its cells cannot be read ({error}){mend}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:  # not JSON, or of another kind
        why = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: its cells cannot be read ({why}); give a notebook as Jupyter writes it") from None


def is_described(notebook: str | Path) -> bool:
    """Tell whether a notebook has cells that define its experiment."""
    return path_of(notebook).exists() and bool(cells(notebook, "experiment"))


def experiment(notebook: str | Path, parameters: Mapping[str, Any]) -> SimpleNamespace:
    """Execute a notebook's experiment cells with these parameters and return what they define.

    Its runs are `study.planned`. Nothing is trained or written; data that the problem's space depends on are loaded.

    Raises:
        UserError: see `cells`; invalid parameters; a cell that fails.
    """
    path, namespace = path_of(notebook), {"__name__": "__experiment__", "In": []}
    sys.path.insert(0, own := str(path.parent))  # modules beside the notebook, as in its kernel
    try:
        for source in cells(notebook, "parameters"):
            run_cell(source, namespace, path.stem)
        namespace["In"].append("\n".join(["# Parameters", *(f"{parameter} = ..." for parameter in parameters), ""]))
        namespace |= parameters
        for source in cells(notebook, "experiment"):
            run_cell(source, namespace, path.stem)
    finally:
        sys.path.remove(own)
    return SimpleNamespace(**{name: value for name, value in namespace.items() if not name.startswith("__")})


def check(notebook: str | Path, parameters: Mapping[str, Any]) -> Path:
    """Raise `UserError` if a notebook cannot run with these parameters (see `Study.check`); returns its logs' folder.

    Nothing is written. A notebook without experiment cells is not checked.
    """
    if is_described(notebook):
        study = experiment(notebook, parameters).study
        study.check()
        return study.folder / "logs"
    return results(parameters["profile"], path_of(notebook).stem) / "logs"


def run_cell(source: str, namespace: dict[str, Any], notebook: str) -> None:
    """Execute one cell, appending its source to `In` as IPython does; `UserError` names a cell that fails."""
    namespace["In"].append(source)
    try:
        exec(compile(source, f"<{notebook}>", "exec"), namespace)
    except UserError:
        raise
    except Exception as error:
        first = source.strip().partition("\n")[0]
        raise UserError(f"{notebook}: the cell {first!r} fails: {type(error).__name__}: {error}") from error
