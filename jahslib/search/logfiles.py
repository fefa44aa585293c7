"""File formats of trial logs: plain, compressed, and packs of many logs.

`NAME.jsonl` while its search runs; `NAME.jsonl.gz` where it was compressed; and for comparisons of thousands of short
searches a pack, `TASK.jsonl.xz`, of all logs that are named TASK-METHOD-seedSEED. A log is named by the plain form
everywhere; all readers take any form (so does `pandas.read_json`, a pack as the lines of all its logs). A search that
continues unpacks its log. If a plain form and another one exist, either a process was killed between two steps or a
packed search was continued, and the plain one contains the other; if it does not, the user must decide which is valid.
"""

import contextlib
import errno
import fcntl
import gzip
import io
import json
import lzma
import os
import re
import zlib
from collections.abc import Iterable
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

from jahslib import paths
from jahslib.errors import UserError
from jahslib.search.loglines import BEGINNING

PLAIN, PACKED, PACK = ".jsonl", ".jsonl.gz", ".jsonl.xz"


def named(file: Path | str) -> Path:
    """Return the log's plain path, from any form's."""
    file = Path(file)
    return file.with_suffix("") if file.name.endswith(PACKED) else file


def packed(log: Path) -> Path:
    """Return the path of the log's compressed form."""
    return log.with_name(f"{log.name}.gz")


def checkpoints(log: Path) -> Path:
    """Return the folder of an unfinished search's checkpoints."""
    return log.with_name(f"{log.name}.checkpoints")


def pack_of(log: Path) -> Path:
    """Return the path of the pack that may hold the log."""
    return log.with_name(f"{log.stem.rsplit('-', 2)[0]}{PACK}")


def form(log: Path) -> Path:
    """Return the file that holds the log: plain if it exists, else compressed, else the pack."""
    if log.exists():
        return log
    if packed(log).exists():
        return packed(log)
    return pack_of(log) if log.stem in members(pack_of(log)) else log


def members(pack: Path) -> dict[str, bytes]:
    """Read the logs in a pack, as plain bytes by name; empty if there is no such file.

    Raises:
        UserError: the pack is damaged.
    """
    try:
        now = pack.stat()
    except OSError:
        return {}
    return _members(pack, now.st_size, now.st_mtime_ns)


@lru_cache(maxsize=4)
def _members(pack: Path, size: int, changed: int) -> dict[str, bytes]:
    try:
        before, *logs = re.split(rb"^(?=" + re.escape(BEGINNING) + b")", lzma.decompress(pack.read_bytes()), flags=re.M)
        if before:
            raise ValueError("it does not begin with a header")
        return {_member(pack, log): log for log in logs}
    except (OSError, EOFError, lzma.LZMAError, ValueError, KeyError) as error:
        raise UserError(f"pack of trial logs {pack}: is damaged ({error}); get it again, or move it away") from error


def _member(pack: Path, log: bytes) -> str:
    """Name a log in a pack, by its header."""
    header = json.loads(log.partition(b"\n")[0])
    return f"{pack.name.removesuffix(PACK)}-{header['method']}-seed{header['seed']}"


def exists(log: Path) -> bool:
    """Tell whether the log exists in any form."""
    return form(log).exists()


def found(folder: Path, pattern: str = "*") -> list[Path]:
    """List the logs in a folder by name, each once whatever its form.

    `pattern` matches a path without its suffix.
    """
    logs = {named(file) for ending in (PLAIN, PACKED) for file in folder.glob(pattern + ending)}
    place, _, name = pattern.rpartition("/")
    begin = re.split(r"[*?[]", name)[0]
    for pack in folder.glob(f"{place}/*{PACK}".lstrip("/")):
        task = f"{pack.name.removesuffix(PACK)}-"
        if not (begin.startswith(task) or task.startswith(begin)):  # opening a pack takes a while
            continue
        logs |= {pack.with_name(f"{member}{PLAIN}") for member in members(pack) if fnmatch(member, name)}
    return sorted(logs)


def opened(log: Path) -> BinaryIO:
    """Open the log for reading, as plain bytes."""
    file = form(log)
    if file == pack_of(log):
        return io.BytesIO(members(file)[log.stem])
    return cast(BinaryIO, gzip.open(file)) if file != log else file.open("rb")


def content(log: Path) -> bytes:
    """Read the log's plain bytes.

    Raises:
        FileNotFoundError: it exists in no form.
        UserError: the compressed form is damaged, or holds what the plain one beside it does not.
    """
    for file in (log, packed(log), log):  # one may replace the other meanwhile
        try:
            found = file.read_bytes()
        except FileNotFoundError:
            continue
        if file != log:
            return unpacked(log, found)
        refuse_rival(log, found)
        return found
    if (own := members(pack_of(log)).get(log.stem)) is not None:
        return own
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(log))


def unpacked(log: Path, compressed: bytes) -> bytes:
    """Decompress a log. Raises `UserError` where it is damaged."""
    try:
        return gzip.decompress(compressed)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"trial log {packed(log)}: is damaged ({error}); get it again, or move it away") from error


def refuse_rival(log: Path, plain: bytes) -> None:
    """Raise `UserError` if another form has content that the plain one does not."""
    rivals = {pack_of(log).name: members(pack_of(log)).get(log.stem, b"")}
    with contextlib.suppress(FileNotFoundError):
        rivals[packed(log).name] = unpacked(log, packed(log).read_bytes())
    for name, content in rivals.items():
        if not plain.startswith(content):
            raise UserError(f"trial log {log}: is not what {name} beside it holds; move one of the two away")


def locked(log: Path, file: BinaryIO) -> None:
    """Lock an open log against a second writer, until it is closed.

    Packs have no writer and are locked shared.

    Raises:
        UserError: there is a writer.
    """
    try:
        shared = str(file.name).endswith(PACK)
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise UserError(f"trial log {log}: in use by another process; wait for it or stop it") from error
        raise UserError(
            f"trial log {log}: cannot be locked ({error.strerror}); give a folder on a file system that has flock"
        ) from error


def is_there(file: BinaryIO, path: Path) -> bool:
    """Tell whether an open file is still the one at its path.

    Another process may have replaced or removed it.
    """
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False


def unpack(log: Path, plain: bytes) -> BinaryIO:
    """Replace the compressed form by the plain one atomically; the caller holds its lock.

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
    """Replace the plain form by the compressed one atomically and reproducibly.

    Returns:
        False where a search has the log open, or it is compressed already.

    Raises:
        UserError: see `content`.
    """
    if form(log) != log:
        return False
    with contextlib.ExitStack() as stack:
        if not _is_held(log, stack):
            return False
        paths.write(packed(log), paths.gzipped(content(log)), sync=True)
        _remove(log)
    return True


def pack(logs: Iterable[Path]) -> int:
    """Move plain logs named TASK-METHOD-seedSEED into packs, keeping what a pack had before.

    Returns:
        The number of logs packed: those that no search has open.

    Raises:
        UserError: see `content`; a log of another name than its header says.
    """
    groups: dict[Path, list[Path]] = {}
    for log in logs:
        groups.setdefault(pack_of(log), []).append(log)
    done = 0
    for target, own in groups.items():
        with contextlib.ExitStack() as stack:
            held = [log for log in own if _is_held(log, stack)]
            whole = members(target) | {log.stem: content(log) for log in held}
            for log in held:
                if log.stem != (name := _member(target, whole[log.stem])):
                    raise UserError(f"trial log {log}: its header says that it is {name}; rename it")
            paths.write(target, lzma.compress(b"".join(whole[name] for name in sorted(whole)), preset=9), sync=True)
            for log in held:
                _remove(log)
            done += len(held)
    return done


def _is_held(log: Path, stack: contextlib.ExitStack) -> bool:
    """Lock a plain log until the stack is left; False where a search has it open, or it is there no longer."""
    file = stack.enter_context(open(log, "rb"))
    with contextlib.suppress(UserError):
        locked(log, file)
        return is_there(file, log)
    return False


def _written(file: BinaryIO, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


def _remove(path: Path) -> None:
    """Delete a file after syncing its folder, so that its replacement survives a crash."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
        path.unlink(missing_ok=True)
    finally:
        os.close(folder)
