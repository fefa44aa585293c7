"""The two forms of a trial log on disk: `NAME.jsonl` while its search runs, `NAME.jsonl.gz` where it was compressed.

A log is named by the plain form everywhere; what reads it takes either (`pandas.read_json` does so too). A search that
goes on unpacks its log. Where both forms are there, a kill came between two steps of that and the plain one holds all
that the other does; where it does not, nobody but a person can say which one counts.
"""

import contextlib
import errno
import fcntl
import gzip
import os
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from jahslib import paths
from jahslib.errors import UserError

PLAIN, PACKED = ".jsonl", ".jsonl.gz"


def named(file: Path | str) -> Path:
    """The log's name, from either form's."""
    file = Path(file)
    return file.with_suffix("") if file.name.endswith(PACKED) else file


def packed(log: Path) -> Path:
    """Where the log's compressed form stands."""
    return log.with_name(f"{log.name}.gz")


def form(log: Path) -> Path:
    """The file that holds the log: the compressed one where there is no plain one."""
    return packed(log) if not log.exists() and packed(log).exists() else log


def exists(log: Path) -> bool:
    """Whether the log is there in either form."""
    return form(log).exists()


def found(folder: Path, pattern: str = "*") -> list[Path]:
    """The logs in a folder by name, each once whatever its form; `pattern` is that of a path without its ending."""
    return sorted({named(file) for ending in (PLAIN, PACKED) for file in folder.glob(pattern + ending)})


def opened(log: Path) -> BinaryIO:
    """Open the log for reading, as plain bytes."""
    file = form(log)
    return cast(BinaryIO, gzip.open(file)) if file != log else file.open("rb")


def content(log: Path) -> bytes:
    """The log's plain bytes.

    Raises:
        FileNotFoundError: there is neither form.
        UserError: the compressed form is damaged, or holds what the plain one beside it does not.
    """
    for file in (log, packed(log), log):  # one may take the other's place meanwhile
        try:
            found = file.read_bytes()
        except FileNotFoundError:
            continue
        if file != log:
            return unpacked(log, found)
        refuse_rival(log, found)
        return found
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(log))


def unpacked(log: Path, compressed: bytes) -> bytes:
    """Plain bytes from compressed ones. Raises `UserError` where they are damaged."""
    try:
        return gzip.decompress(compressed)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"trial log {packed(log)}: is damaged ({error}); get it again, or move it away") from error


def refuse_rival(log: Path, plain: bytes) -> None:
    """Raise `UserError` where a compressed form beside the plain one holds anything that this one does not."""
    rival = packed(log)
    with contextlib.suppress(FileNotFoundError):
        if not plain.startswith(unpacked(log, rival.read_bytes())):
            raise UserError(f"trial log {log}: is not what {rival.name} beside it holds; move one of the two away")


def locked(log: Path, file: BinaryIO) -> None:
    """Lock an open log against a second writer, until it is closed. Raises `UserError` where there is one."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise UserError(f"trial log {log}: in use by another process; wait for it or stop it") from error


def is_there(file: BinaryIO, path: Path) -> bool:
    """Whether an open file is the one that now stands at its path: another process may have replaced or removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False


def unpack(log: Path, plain: bytes) -> BinaryIO:
    """Put the plain form in the place of the compressed one, whole or not at all; the caller holds the lock on that.

    Returns:
        The plain file, open for appending and locked.
    """
    part = log.with_name(f".{log.name}.{os.getpid()}.part")
    file = open(part, "a+b", buffering=0)
    try:
        locked(log, file)  # before others can see it
        file.truncate(0)
        _written(file, plain)
        os.replace(part, log)
    except BaseException:
        file.close()
        part.unlink(missing_ok=True)
        raise
    _remove(packed(log))
    return file


def compress(log: Path) -> bool:
    """Put the compressed form in the place of the plain one, whole or not at all; the same log gives the same bytes.

    Returns:
        False where a search has the log open, or it is compressed already.

    Raises:
        UserError: see `content`.
    """
    if form(log) != log:
        return False
    with open(log, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        if not is_there(file, log):
            return False
        paths.write(packed(log), paths.gzipped(content(log)), sync=True)
        _remove(log)
    return True


def _written(file: BinaryIO, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


def _remove(path: Path) -> None:
    """Delete a file once what replaces it is sure to be found."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
        path.unlink(missing_ok=True)
    finally:
        os.close(folder)
