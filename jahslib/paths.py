"""Where the repository and its outputs lie; standard library only, because set-up runs before anything is installed."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def outputs() -> Path:
    """The folder that holds results/ and figs/: the repository, or `$JAHSLIB_RESULTS` where that is set."""
    return Path(os.environ.get("JAHSLIB_RESULTS") or ROOT).resolve()


def results(profile: str, notebook: str) -> Path:
    """Folder of a notebook's trial logs, values and tables in one profile; not created here."""
    return outputs() / "results" / profile / notebook


def figs(profile: str, notebook: str) -> Path:
    """Folder of a notebook's figures in one profile; not created here."""
    return outputs() / "figs" / profile / notebook


def write(file: Path, content: bytes | str) -> None:
    """Write a file, and the folders above it, whole or not at all; text as UTF-8."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
