"""Where data files are looked for: `$JAHSLIB_DATA`, the project's `data/`, the system's packages; else a download.

A place is named by a word in messages and results, never by its path.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from jahslib.data import archives
from jahslib.errors import UserError
from jahslib.paths import home

ROOT = home()  # of data/
SYSTEM = Path("/usr/share/datasets")


def places() -> list[tuple[str, Path]]:
    """(word, folder) in search order; a relative JAHSLIB_DATA is taken from the current directory."""
    given = os.environ.get("JAHSLIB_DATA")
    own = [("JAHSLIB_DATA", Path(given).expanduser().resolve())] if given else []
    return [*own, ("data/", ROOT / "data"), ("system", SYSTEM)]


def look_in(folder: str | None, option: str) -> None:
    """Make `folder` the place that is searched first, here and in processes started from now on; None changes nothing.

    Raises:
        UserError: there is no such folder; names the option that gave it.
    """
    if folder is None:
        return
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"{option}: no folder {folder}; give the folder that holds the data sets")
    os.environ["JAHSLIB_DATA"] = str(path.resolve())


def find(files: Sequence[str]) -> tuple[str, Path] | None:
    """(word, path) of the first of `files` that exists, place by place."""
    found = ((word, folder / file) for word, folder in places() for file in files)
    return next((hit for hit in found if hit[1].exists()), None)


def at_hand(file: str) -> bool:
    """Whether one of the places holds `file`, so that nothing is downloaded for it; its contents are not looked at."""
    return find([file]) is not None


def locate(name: str, file: str, mend: str) -> Path:
    """Where `file` of the data set `name` lies; `UserError` naming the places and `mend` if nowhere."""
    return located(name, [file], mend)[1]


def located(name: str, files: Sequence[str], mend: str) -> tuple[str, Path]:
    """(word, path) of the first of `files` that exists; `UserError` naming the places and `mend` if none does."""
    hit = find(files)
    if hit is None:
        raise _missing(name, files, mend)
    return hit


def obtain(
    name: str, files: Sequence[str], published: Callable[[], tuple[Sequence[str], str]], mend: str = ""
) -> tuple[str, Path]:
    """(word, path) of a file at hand, else the last of `files`, downloaded now into data/.

    `published` gives addresses and digest; it is asked only before a download, as it may have to import torchvision.
    Raises `UserError` when it can be neither found nor downloaded, with `mend` or else the command that fetches a set
    of images.
    """
    if hit := find(files):
        return hit
    target = ROOT / "data" / files[-1]
    try:
        archives.download(*published(), target)
    except UserError as error:
        raise _missing(name, files, mend or f"with a network: {fetch_command(name)}", error) from error
    return "download", target


def replacing(word: str, name: str) -> str:
    """How to replace a damaged file of the data set `name` in the place of this word."""
    folder = {"JAHSLIB_DATA": "$JAHSLIB_DATA", "download": "data/"}.get(word, word)
    return f"remove it from {folder}, then: {fetch_command(name)}"


def fetch_command(name: str) -> str:
    """The command that gets and checks a data set."""
    return f"python -m jahslib data fetch {name}"


def _missing(name: str, files: Sequence[str], mend: str, reason: object = "") -> UserError:
    given = os.environ.get("JAHSLIB_DATA")
    state = "unset" if not given else "searched" if Path(given).expanduser().is_dir() else "no such folder"
    why = f"; {reason}" if reason else ""
    return UserError(
        f"{name}: found no {' or '.join(files)} in $JAHSLIB_DATA ({state}), data/ or {SYSTEM}{why}; to get it, {mend}"
    )
