"""File formats of trial logs: plain, compressed, and packs of many logs.

`NAME.jsonl` while its search runs; `NAME.jsonl.gz` where it was compressed; for many short or similar searches a pack
(`jahslib.search.packs`). A log is named by the plain form everywhere, and all readers take any. A search that continues
unpacks its log. Where another form exists beside the plain one, the plain one contains it (a process was killed between
two steps, or a packed search goes on), or was started over, as its header says; else the user must decide.
"""

import contextlib
import errno
import fcntl
import gzip
import io
import os
import zlib
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO, cast

from jahslib import paths
from jahslib.errors import UserError
from jahslib.search import packs
from jahslib.search.packs import PACK, pack_of

PLAIN, PACKED = ".jsonl", ".jsonl.gz"
STARTED_OVER = "started_over"  # in the header of a search that was, while a pack held its log


def named(file: Path | str) -> Path:
    """Return the log's plain path, from any form's. Raises `UserError` for a pack of logs, and for what is no path."""
    if not isinstance(file, str | os.PathLike):
        raise UserError(f"trial log: {file!r}; give the path of a file, such as 'mine.jsonl'")
    file = Path(file)
    if file.name.endswith(PACK):
        logs = inside(file) if file.exists() else [file.with_suffix("")]
        raise UserError(f"trial log {file}: is a pack; name one of its logs, such as {next(iter(logs), file)}")
    return file.with_suffix("") if file.name.endswith(PACKED) else file


def several(logs: Iterable[Path | str] | Path | str) -> list[Path]:
    """List one path or several."""
    return [Path(log) for log in ([logs] if isinstance(logs, str | Path) else logs)]


def inside(place: Path) -> list[Path]:
    """Return the logs of a folder or of a pack, or else the log itself."""
    if place.name.endswith(PACK):
        return sorted(place.with_name(f"{log}{PLAIN}") for log in packs.members(place))
    return found(place) if place.is_dir() else [named(place)]


def packed(log: Path) -> Path:
    """Return the path of the log's compressed form."""
    return log.with_name(f"{log.name}.gz")


def checkpoints(log: Path) -> Path:
    """Return the folder of an unfinished search's checkpoints."""
    return log.with_name(f"{log.name}.checkpoints")


def form(log: Path) -> Path:
    """Return the file that holds the log: plain if it exists, else compressed, else a pack."""
    if log.exists():
        return log
    return packed(log) if packed(log).exists() else pack_of(log) or log


def exists(log: Path) -> bool:
    """Tell whether the log exists in any form."""
    return form(log).exists()


def found(folder: Path, pattern: str = "*") -> list[Path]:
    """List the logs in a folder by name, each once whatever its form. `pattern` matches a path without its suffix.

    A pack whose list of logs is damaged is listed itself: reading it raises.
    """
    logs = {named(file) for ending in (PLAIN, PACKED) for file in folder.glob(pattern + ending)}
    place, _, name = pattern.rpartition("/")
    for pack in folder.glob(f"{place}/*{PACK}".lstrip("/")):
        try:
            logs |= {log for log in inside(pack) if fnmatch(log.stem, name)}
        except UserError:
            logs.add(pack)
    return sorted(logs)


def opened(log: Path) -> BinaryIO:
    """Open the log for reading, as plain bytes."""
    file = form(log)
    if file.name.endswith(PACK):
        return io.BytesIO(content(log))
    return cast(BinaryIO, gzip.open(file)) if file != log else file.open("rb")


def content(log: Path) -> bytes:
    """Read the log's plain bytes.

    Raises:
        FileNotFoundError: it exists in no form.
        UserError: the compressed form is damaged, or holds what the plain one beside it does not.
    """
    for compressed in (False, True, False):  # one form may replace the other meanwhile
        with contextlib.suppress(FileNotFoundError):
            if compressed:
                return _unpacked(log)
            plain = log.read_bytes()
            refuse_rival(log, plain)
            return plain
    if pack := pack_of(log):
        return packs.contents(pack)[log.stem]
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(log))


def _unpacked(log: Path) -> bytes:
    compressed = packed(log).read_bytes()
    try:
        return gzip.decompress(compressed)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"trial log {packed(log)}: is damaged ({error}); get it again, or move it away") from error


def refuse_rival(log: Path, plain: bytes) -> None:
    """Raise `UserError` if another form has content that the plain one, unless started over, does not have."""
    rivals = {}
    if (pack := pack_of(log)) and f'"{STARTED_OVER}": true'.encode() not in plain.partition(b"\n")[0]:
        rivals[pack.name] = packs.contents(pack)[log.stem]
    with contextlib.suppress(FileNotFoundError):
        rivals[packed(log).name] = _unpacked(log)
    for name, content in rivals.items():
        if not plain.startswith(content):
            raise UserError(f"trial log {log}: is not what {name} beside it holds; move one of the two away")


def locked(log: Path, file: BinaryIO) -> None:
    """Lock an open log until it is closed, packs shared as they have no writer. Raises `UserError` if one has it."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if str(file.name).endswith(PACK) else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise UserError(f"trial log {log}: in use by another process; wait for it or stop it") from error
        raise UserError(
            f"trial log {log}: cannot be locked ({error.strerror}); give a folder on a file system that has flock"
        ) from error


def is_there(file: BinaryIO, path: Path) -> bool:
    """Tell whether an open file is still the one at its path. Another process may have replaced or removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False


def unpack(log: Path, plain: bytes) -> BinaryIO:
    """Replace the compressed form, whose lock the caller holds, by the plain one, open for appending and locked."""
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
    """Replace the plain form by the compressed one atomically; False if a search has it open, or it is compressed."""
    if form(log) != log:
        return False
    with contextlib.ExitStack() as stack:
        if not _is_held(log, stack):
            return False
        paths.write(packed(log), paths.gzipped(content(log)), sync=True)
        _remove(log)
    return True


def pack(logs: Iterable[Path], target: Path) -> int:
    """Move logs into the pack `target` of their folder, beside those in it; returns how many: open ones stay.

    Raises:
        UserError: see `content`; another pack has one of the logs.
    """
    with contextlib.ExitStack() as stack:
        folder = os.open(target.parent, os.O_RDONLY)
        stack.callback(os.close, folder)
        fcntl.flock(folder, fcntl.LOCK_EX)  # one process at a time extends a pack
        held = {log: pack_of(log) for log in logs if not form(log).name.endswith(PACK)}
        for log, other in held.items():
            if other and other != target:
                raise UserError(f"trial log {log}: is in {other.name} too; give that pack's name")
        if held:
            before = packs.contents(target) if target.exists() else {}
            paths.write(target, packs.packed(before | {log.stem: content(log) for log in held}), sync=True)
    return sum(map(_leave_to_pack, held))


def _leave_to_pack(log: Path) -> bool:
    """Remove a log's own file if a pack has all of it; False where a search has it open or continued it."""
    with contextlib.ExitStack() as stack:
        pack = pack_of(log)
        if not (pack and _is_held(log, stack) and content(log) == packs.contents(pack)[log.stem]):
            return False
        _remove(packed(log))
        _remove(log)
    return True


def _is_held(log: Path, stack: contextlib.ExitStack) -> bool:
    """Lock a log until the stack is left; False where a search has it open, or it is there no longer."""
    place = form(log)
    file = stack.enter_context(open(place, "rb"))
    with contextlib.suppress(UserError):
        locked(log, file)
        return is_there(file, place)
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
