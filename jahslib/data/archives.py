"""Verified archives and downloads: digests first, paths confined, writes atomic.

A digest is written as `algorithm:hex`, for example `sha256:ba89…` or `md5:f68b…`.
"""

import contextlib
import fcntl
import glob
import gzip
import hashlib
import http.client
import logging
import lzma
import os
import secrets
import tarfile
import tempfile
import time
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from tqdm import tqdm

from jahslib.errors import UserError

logger = logging.getLogger(__name__)

MEMBER_LIMIT = 256 * 2**20  # bytes; the largest member of a known archive is CIFAR-100's train file, 155 MB
TOTAL_LIMIT = 2 * 2**30  # bytes over all members of one archive

_DAMAGED = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Compute the hex digest of the file at `path`."""
    with open(path, "rb") as file:
        # usedforsecurity=False: published md5 sums must stay readable on machines whose policy forbids md5
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def verify(path: Path, expected: str, mend: str = "delete it and fetch it again", name: str = "") -> None:
    """Raise `UserError`, with both digests, unless the file at `path` (in messages `name`) has digest `expected`."""
    algorithm, _, wanted = expected.partition(":")
    found = digest(path, algorithm)
    if found != wanted:
        size = path.stat().st_size
        raise UserError(
            f"{name or path.name} ({size} bytes) is truncated or not the known file: "
            f"expected {algorithm} {wanted}, found {found}; {mend}"
        )


def gunzip(path: Path, limit: int = MEMBER_LIMIT, mend: str = "delete it and fetch it again") -> bytes:
    """Decompress one gzip file in memory. Raises `UserError`: it is damaged or unpacks to more than `limit` bytes."""
    try:
        with gzip.open(path) as file:
            contents = file.read(limit + 1)
    except _DAMAGED as error:
        raise UserError(f"{path.name} is truncated or no gzip file ({error}); {mend}") from error
    if len(contents) > limit:
        raise UserError(f"{path.name} unpacks to more than the limit of {limit} bytes; {mend}")
    return contents


def members(path: Path, limit: int = MEMBER_LIMIT, total: int = TOTAL_LIMIT) -> Iterator[tuple[str, bytes]]:
    """Yield name and contents of every file of a tar archive of any compression, in archive order; writes nothing.

    Raises:
        UserError: a damaged archive or, naming the member, absolute names, `..`, links, devices, and members over
            `limit` bytes or that take the sum over `total` bytes.
    """
    path, seen = Path(path), 0
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                seen += member.size
                if fault := _fault(member, seen, limit, total):
                    raise UserError(
                        f"{path.name}: refused, its member {member.name!r} {fault}; get it from its official source"
                    )
                if file := archive.extractfile(member):
                    yield member.name, file.read()
            while archive.fileobj.read(2**20):  # to the end, where a compressed stream keeps its own checksum
                pass
    except _DAMAGED as error:
        raise UserError(
            f"{path.name} is truncated or no tar archive ({error}); replace it with a whole copy"
        ) from error


def _fault(member: tarfile.TarInfo, seen: int, limit: int, total: int) -> str:
    posix, windows = PurePosixPath(member.name), PureWindowsPath(member.name)
    if posix.is_absolute() or windows.drive or windows.root:
        return "has an absolute name"
    if ".." in windows.parts:  # Windows parts split at both kinds of slash
        return "leaves the folder with '..'"
    if not (member.isreg() or member.isdir()):
        return "is a link or a device"
    if member.size > limit:
        return f"has {member.size} bytes, over the limit of {limit}"
    return f"takes the archive over the limit of {total} bytes in all" if seen > total else ""


def unpack(path: Path, target: Path, total: int = TOTAL_LIMIT) -> None:
    """Unpack a tar archive's files atomically into the new folder `target`, whose parent must exist.

    Raises:
        UserError: as `members`, or `target` exists.
    """
    path, target = Path(path), Path(target)
    if target.exists():
        raise UserError(f"{target.name} already exists; remove it to unpack {path.name} again")
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        folder = Path(scratch) / target.name
        folder.mkdir()
        for name, contents in members(path, total=total):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(contents)
        os.replace(folder, target)


ABANDONED = 10.0  # seconds; much longer than a download's file stays unlocked after its creation


@contextlib.contextmanager
def _part(target: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `target`, locked while it is written and removed afterwards."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    with part.open("xb") as file:
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            with contextlib.suppress(OSError):
                part.unlink()


def _sweep(target: Path) -> None:
    """Delete the unlocked temporary files that killed downloads of `target` left behind."""
    for part in target.parent.glob(f"{glob.escape(target.name)}*.part"):
        with contextlib.suppress(OSError), part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - part.stat().st_mtime > ABANDONED:
                part.unlink()


def _fetch(url: str, expected: str, target: Path, timeout: float) -> None:
    # `_part` makes the folder, so only once the server answers
    with urllib.request.urlopen(url, timeout=timeout) as response, _part(target) as file:
        size = int(response.headers.get("Content-Length") or 0) or None
        with tqdm(total=size, desc=target.name, unit="B", unit_scale=True, mininterval=1.0) as bar:
            while chunk := response.read(2**16):
                file.write(chunk)
                bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())
        verify(Path(file.name), expected, mend="nothing was kept", name=target.name)
        os.replace(file.name, target)


def download(urls: Sequence[str], expected: str, target: Path, timeout: float = 15.0) -> None:
    """Download `target` from the first of `urls` that serves the file with digest `expected`.

    The bytes go to a `.part` file of this call's own, so that several processes may want one file at a time, and get
    their name only once the digest is right. There are no retries; `timeout` (seconds) bounds the connection and every
    read.

    Raises:
        UserError: all addresses failed; gives the reason for each.
    """
    target = Path(target)
    failures = []
    try:
        for url in urls:
            host = urllib.parse.urlsplit(url).hostname
            logger.info("downloading %s from %s", target.name, host)
            try:
                _fetch(url, expected, target, timeout)
            except (OSError, http.client.HTTPException, UserError) as error:
                # an OSError's own text may hold a machine path; its reason does not
                reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
                failures.append(f"{host}: {reason}")
                continue
            return
    finally:
        _sweep(target)
    raise UserError(f"{target.name} could not be downloaded ({'; '.join(failures)})")
