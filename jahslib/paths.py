"""Where the repository and its outputs lie; standard library only, because set-up runs before anything is installed."""

import gzip
import io
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def is_checkout(root: Path = ROOT) -> bool:
    """Whether `root` is a copy of this project rather than the folder into which a wheel of it was installed."""
    try:
        described = (root / "pyproject.toml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.search(r'(?m)^name = "jahslib"$', described) is not None


def home() -> Path:
    """Where data/, results/ and figs/ belong: the project's folder or, where a wheel is installed, the current one."""
    return ROOT if is_checkout() else Path.cwd()


def outputs() -> Path:
    """The folder that holds results/ and figs/: `$JAHSLIB_RESULTS` where that is set, else `home()`."""
    return Path(os.environ.get("JAHSLIB_RESULTS") or home()).resolve()


def results(profile: str, notebook: str) -> Path:
    """Folder of a notebook's trial logs, values and tables in one profile; not created here."""
    return outputs() / "results" / profile / notebook


def figs(profile: str, notebook: str) -> Path:
    """Folder of a notebook's figures in one profile; not created here."""
    return outputs() / "figs" / profile / notebook


def write(file: Path, content: bytes | str, *, sync: bool = False) -> None:
    """Write a file, and the folders above it, whole or not at all; text as UTF-8. `sync`: wait until it is on disk."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as opened:
            opened.write(content.encode() if isinstance(content, str) else content)
            if sync:
                opened.flush()
                os.fsync(opened.fileno())
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def gzipped(content: bytes) -> bytes:
    """Compressed as small as gzip can, without a time or name in it, so that the same content gives the same bytes."""
    into = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=into, mtime=0) as file:
        file.write(content)
    return into.getvalue()
