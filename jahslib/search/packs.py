"""Packs: many short or similar trial logs in one file, which take far fewer bytes together than each by itself.

The first line of a `PACK.jsonl.xz`, `{"kind": "pack", "logs": {"LOG": bytes, ...}}`, says which logs follow one after
another. `pandas.read_json(pack, lines=True)` reads it as the lines of all its logs, after that one.
"""

import contextlib
import json
import lzma
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from jahslib import paths
from jahslib.errors import UserError

PACK = ".jsonl.xz"


def pack_of(log: Path) -> Path | None:
    """Return the pack that holds the log, None if none does. Raises `UserError` if only a damaged one may."""
    try:
        packs = [log.with_name(name) for name in sorted(os.listdir(log.parent)) if name.endswith(PACK)]
    except OSError:
        return None
    damage = None
    for pack in packs:
        try:
            if log.stem in members(pack):
                return pack
        except UserError as error:
            damage = error
    if damage:
        raise damage
    return None


def members(pack: Path) -> dict[str, int]:
    """Read which logs a pack holds, in their order: plain sizes in bytes by name. Raises `UserError` if damaged."""
    return _members(pack, *_version(pack))


def contents(pack: Path) -> dict[str, bytes]:
    """Read all logs of a pack, by name. Raises as `members`."""
    return _contents(pack, *_version(pack))


def packed(logs: Mapping[str, bytes]) -> bytes:
    """Make a pack of logs named TASK-METHOD-seedSEED, sorted by seed, as random configurations of one are alike."""
    names = sorted(logs, key=lambda name: name.split("-")[::-1])
    index = json.dumps({"kind": "pack", "logs": {name: len(logs[name]) for name in names}})
    return paths.xz(b"".join([index.encode() + b"\n", *(logs[name] for name in names)]))


def _version(pack: Path) -> tuple[int, int]:
    try:
        now = pack.stat()
    except OSError as error:  # a link to what is gone, say
        raise UserError(f"pack of trial logs {pack}: cannot be read ({error.strerror}); move it away") from error
    return now.st_size, now.st_mtime_ns


@lru_cache(maxsize=256)
def _members(pack: Path, size: int, changed: int) -> dict[str, int]:
    with _reading(pack) as (_, logs):
        return logs


@lru_cache(maxsize=8)  # study 08's packs, 170 MB in all, are read alternately
def _contents(pack: Path, size: int, changed: int) -> dict[str, bytes]:
    with _reading(pack) as (file, logs):
        found = {name: file.read(length) for name, length in logs.items()}
        if file.read(1) or [*map(len, found.values())] != [*logs.values()]:
            raise ValueError("its logs have not the lengths in its first line")
        return found


@contextlib.contextmanager
def _reading(pack: Path) -> Iterator[tuple[lzma.LZMAFile, dict[str, int]]]:
    """Open a pack behind its first line, and tell what that one says."""
    try:
        with lzma.open(pack) as file:
            yield file, json.loads(file.readline())["logs"]
    except (OSError, EOFError, lzma.LZMAError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"pack of trial logs {pack}: is damaged ({error}); get it again, or move it away") from error
