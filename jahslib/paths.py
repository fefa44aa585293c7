"""Locations of the repository and its outputs.

Uses the standard library only, because set-up runs before anything is installed.
"""

import gzip
import io
import lzma
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def is_checkout(root: Path = ROOT) -> bool:
    """Tell whether `root` is a checkout of this project rather than an installed wheel."""
    try:
        described = (root / "pyproject.toml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.search(r'(?m)^name = "jahslib"$', described) is not None


def home() -> Path:
    """Return the folder of data/, results/ and figs/.

    It is the project's folder or, where a wheel is installed, the current one; from within a folder `notebooks`, in
    which JupyterLab starts its kernels, the one above.
    """
    if is_checkout():
        return ROOT
    here = Path.cwd()
    return here.parent if here.name == "notebooks" else here


def outputs() -> Path:
    """Return the folder of results/ and figs/: `$JAHSLIB_RESULTS` if set, else `home()`."""
    return Path(os.environ.get("JAHSLIB_RESULTS") or home()).resolve()


def results(profile: str, notebook: str) -> Path:
    """Return the folder of a notebook's trial logs, values and tables; does not create it."""
    return outputs() / "results" / profile / notebook


def figs(profile: str, notebook: str) -> Path:
    """Return the folder of a notebook's figures in one profile; does not create it."""
    return outputs() / "figs" / profile / notebook


def write(file: Path, content: bytes | str, *, sync: bool = False) -> None:
    """Write a file atomically, creating its parent folders; text is encoded as UTF-8.

    `sync` waits until the content is on disk.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        if sync:
            with part.open("rb") as written:
                os.fsync(written.fileno())
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def gzipped(content: bytes) -> bytes:
    """Compress reproducibly with gzip: highest level, no time stamp or file name in the header."""
    into = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=into, mtime=0) as file:
        file.write(content)
    return into.getvalue()


def xz(content: bytes) -> bytes:
    """Compress reproducibly with xz, as small as it can."""
    return lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
