"""Verified files and downloads: bytes are compared with a digest before anything else is done with them.

A digest is written as `algorithm:hex`, for example `sha256:ba89…` or `md5:f68b…`.
"""

import gzip
import hashlib
import http.client
import io
import logging
import tarfile
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from jahslib import paths
from jahslib.errors import UserError

logger = logging.getLogger(__name__)


def verify(contents: bytes, expected: str, name: str, mend: str) -> bytes:
    """Return the contents of a file. Raises `UserError`, with both digests, unless theirs is `expected`."""
    algorithm, _, wanted = expected.partition(":")
    # usedforsecurity=False: published md5 sums must stay readable on machines whose policy forbids md5
    found = hashlib.new(algorithm, contents, usedforsecurity=False).hexdigest()
    if found != wanted:
        raise UserError(
            f"{name} ({len(contents)} bytes) is truncated or not the known file: "
            f"expected {algorithm} {wanted}, found {found}; {mend}"
        )
    return contents


def read(path: Path, expected: str, mend: str) -> bytes:
    """Read the file at `path`. Raises as `verify`."""
    return verify(path.read_bytes(), expected, path.name, mend)


def gunzip(path: Path, mend: str) -> bytes:
    """Decompress a gzip file in memory. Raises `UserError` where it is damaged."""
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path.name} is truncated or no gzip file ({error}); {mend}") from error


def members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and contents of every file of a verified tar archive, in its order; writes nothing."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for member in opened:
            if file := opened.extractfile(member):
                yield member.name, file.read()


def download(urls: Sequence[str], expected: str, target: Path, timeout: float = 15.0) -> None:
    """Download `target` from the first of `urls` that serves the file with digest `expected`.

    Nothing is written before the digest is right. There are no retries; `timeout` (seconds) bounds the connection and
    every read.

    Raises:
        UserError: all addresses failed; gives the reason for each.
    """
    failures = []
    for url in urls:
        host = urllib.parse.urlsplit(url).hostname
        logger.info("downloading %s from %s", target.name, host)
        try:
            contents = verify(_fetch(url, target.name, timeout), expected, target.name, "nothing was kept")
            paths.write(target, contents, sync=True)
        except (OSError, http.client.HTTPException, UserError) as error:
            # an OSError's own text may hold a machine path; its reason does not
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            failures.append(f"{host}: {reason}")
        else:
            return
    raise UserError(f"{target.name} could not be downloaded ({'; '.join(failures)})")


def _fetch(url: str, name: str, timeout: float) -> bytes:
    contents = bytearray()
    with urllib.request.urlopen(url, timeout=timeout) as response:
        size = int(response.headers.get("Content-Length") or 0) or None
        with tqdm(total=size, desc=name, unit="B", unit_scale=True, mininterval=1.0) as bar:
            while chunk := response.read(2**16):
                contents += chunk
                bar.update(len(chunk))
    return bytes(contents)
