"""Search path of data files: `$JAHSLIB_DATA`, `data/`, system packages, else a download.

`data/` is the project's or, of an installed wheel, the current folder's. A place is named by a word in messages and
results, never by its path.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from jahslib.data import archives
from jahslib.errors import UserError
from jahslib.paths import home

ROOT = home()  # parent of data/
SYSTEM = Path("/usr/share/datasets")


def places() -> list[tuple[str, Path]]:
    """List (word, folder) in search order; a relative JAHSLIB_DATA is resolved here."""
    given = os.environ.get("JAHSLIB_DATA")
    own = [("JAHSLIB_DATA", Path(given).expanduser().resolve())] if given else []
    return [*own, ("data/", ROOT / "data"), ("system", SYSTEM)]


def look_in(folder: str | None, option: str) -> None:
    """Search `folder` first, here and in child processes. Raises `UserError`, naming the option, if there is none."""
    if folder is None:
        return
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"{option}: no folder {folder}; give the folder that holds the data sets")
    os.environ["JAHSLIB_DATA"] = str(path.resolve())


def find(files: Sequence[str]) -> tuple[str, Path] | None:
    """Find the first of `files` that exists, place by place, as (word, path); None if none does."""
    found = ((word, folder / file) for word, folder in places() for file in files)
    return next((hit for hit in found if hit[1].exists()), None)


def at_hand(file: str) -> bool:
    """Tell whether a place holds `file`, whose contents are not checked, so that nothing is downloaded."""
    return find([file]) is not None


def obtain(
    name: str, files: Sequence[str], mend: str = "", published: Callable[[], tuple[Sequence[str], str]] | None = None
) -> tuple[str, Path]:
    """Find the first of `files` that exists, else download the last of them into data/; returns (word, path).

    `published` gives addresses and digest; it is called only before a download, as it may have to import torchvision.
    Without it nothing is downloaded.

    Raises:
        UserError: neither; names the places and `mend` or else the command that fetches a set of images.
    """
    if hit := find(files):
        return hit
    failure = None
    if published is not None:
        target = ROOT / "data" / files[-1]
        try:
            archives.download(*published(), target)
            return "download", target
        except UserError as error:
            failure = error
    given = os.environ.get("JAHSLIB_DATA")
    state = "unset" if not given else "searched" if Path(given).expanduser().is_dir() else "no such folder"
    why = f"; {failure}" if failure else ""
    mend = mend or f"with a network: {fetch_command(name)}"
    raise UserError(
        f"{name}: found no {' or '.join(files)} in $JAHSLIB_DATA ({state}), data/ or {SYSTEM}{why}; to get it, {mend}"
    ) from failure


def replacing(word: str, name: str) -> str:
    """Tell how to replace a damaged file of the data set `name` in this place."""
    folder = {"JAHSLIB_DATA": "$JAHSLIB_DATA", "download": "data/"}.get(word, word)
    return f"remove it from {folder}, then: {fetch_command(name)}"


def fetch_command(name: str) -> str:
    """Return the command that downloads and verifies a data set."""
    return f"python -m jahslib data fetch {name}"
