"""The trial log: a search's history on disk as append-only JSON lines.

The first line is the header (what was searched, how, and on what); each further line is one trial, or an `end` line
that says why the search stopped. `pandas.read_json(path, lines=True).query("kind == 'trial'")` reads it too.
"""

import contextlib
import errno
import io
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from operator import eq
from pathlib import Path
from typing import Any, BinaryIO

from jahslib.core.trials import Trial
from jahslib.errors import JahslibError, UserError
from jahslib.search import logfiles
from jahslib.search.loglines import BEGINNING, FORMAT, is_line, other_format

log = logging.getLogger(__name__)

_TRIAL_FIELDS = {f.name for f in fields(Trial)}


class LogWriteError(JahslibError, OSError):
    """The log could not be extended, on a full disk, say. What it held is intact, so the search can be resumed."""


@dataclass
class LoggedSearch:
    """A search as logged; `end` says how it ended, None if it did not."""

    header: dict[str, Any]
    trials: list[Trial]
    end: dict[str, Any] | None

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What makes the log comparable: the description of its problem, optimizer and seed."""
        return self.header["fingerprint"]

    @property
    def is_blank(self) -> bool:
        """Whether the log holds only a header, as of a search that failed before its first trial."""
        return not self.trials and self.end is None


def data_name(problem: Mapping[str, Any]) -> str:
    """Return the name of the data in a fingerprint's problem, or of a regression's source; empty if it has none."""
    inner = problem.get("cells")
    if isinstance(inner, dict):
        return data_name(inner)
    name = problem.get("source", problem.get("data"))
    return name if isinstance(name, str) else ""


class TrialLog:
    """An open trial log, locked against a second writer.

    Args:
        path: created with its folders when absent; a compressed log stays so until it is extended.
        header: everything beside `fingerprint` is provenance and may differ on resume.
        fresh: start over, overwriting an existing log.

    Raises:
        UserError: the log belongs to another search (says what differs), is in use, is damaged before its last line, or
            cannot be opened; or the file is no trial log. It is not changed.
    """

    def __init__(self, path: Path, header: dict[str, Any], *, fresh: bool = False):
        self.path = logfiles.named(path)
        self._read_only = ""  # why it can be read and not written
        self._file, self._packed = self._locked()
        try:
            content = self._content()
            self._size = self._synced = len(content)
            logged = None
            if fresh:
                _refuse_foreign(self.path, content)
                if logfiles.pack_of(self.path):
                    header = {**header, logfiles.STARTED_OVER: True}
            else:
                if not self._packed:
                    logfiles.refuse_rival(self.path, content)
                logged = _matching(self.path, content, header["fingerprint"])
            if logged is None or logged.is_blank:
                self.make_extendable()
                self._truncate(0)
                self._append({"kind": "header", "format": FORMAT, **header})
                logged = LoggedSearch(as_logged(header), [], None)
            else:
                self._cut_torn_line(content)
        except BaseException:
            self._file.close()
            raise
        self.header, self.trials, self.end = logged.header, logged.trials, logged.end

    def _locked(self) -> tuple[BinaryIO, bool]:
        """Open and lock the file; also tells whether it is the compressed form."""
        while True:
            file, place = self._opened()
            logfiles.locked(self.path, file)
            if logfiles.is_there(file, place) and logfiles.form(self.path) == place:
                return file, place != self.path
            file.close()  # another process was just about to unpack it, compress it or start it over

    def _opened(self) -> tuple[BinaryIO, Path]:
        """Open the file for appending; for reading, enough for a finished search, if packed or not writable."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _refuse_device(self.path)
            place = logfiles.form(self.path)
            if place != self.path:
                return open(place, "rb", buffering=0), place
            try:
                return open(self.path, "a+b", buffering=0), place
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or not self.path.exists():
                    raise
                self._read_only = os.strerror(error.errno)
                return open(self.path, "rb", buffering=0), place
        except UserError:
            raise
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            why = getattr(error, "strerror", None) or error
            raise UserError(f"trial log {self.path}: cannot be opened ({why}); give another place") from error

    def _content(self) -> bytes:
        if self._packed:
            return logfiles.content(self.path)
        self._file.seek(0)
        return self._file.read()

    def append(self, trial: Trial, *, sync: bool = True, **labels: Any) -> None:
        """Write one trial; only after this returns may the optimizer be told.

        Without `sync`, call the method of that name before the optimizer is asked: a kill loses nothing that was
        written, a power failure may.
        """
        self._append({"kind": "trial", **labels, **vars(trial)}, sync)

    def make_extendable(self) -> None:
        """Unpack a compressed log. Raises `LogWriteError` where the log can be read but not extended."""
        try:
            if self._read_only:
                raise OSError(errno.EROFS, self._read_only)
            if self._packed:
                with self._file:
                    self._file = logfiles.unpack(self.path, self._content()[: self._size])
                self._packed = False
            else:
                logfiles.packed(self.path).unlink(missing_ok=True)  # left by a kill beside the complete plain form
        except OSError as error:
            said = f"cannot be extended ({error.strerror}); mend that or copy it to another place"
            raise LogWriteError(error.errno, f"trial log {self.path}: {said}") from error

    def close(self, end: dict[str, Any] | None = None) -> None:
        """Close the log, with an `end` line when the search is complete and anything was or can be written."""
        if self._file.closed:
            return
        if end is not None and not self._read_only and not self._packed:
            self._append({"kind": "end", **end})
        with self._file:
            self.sync()

    def sync(self) -> None:
        """Force to disk what was written. Raises `LogWriteError`, and removes that, where it cannot be."""
        if self._synced == self._size:
            return
        with self._or_cut_to(self._synced):
            os.fsync(self._file.fileno())
            self._synced = self._size

    def _append(self, record: dict[str, Any], sync: bool = True) -> None:
        unwritten = memoryview(dumped(record).encode() + b"\n")
        self.make_extendable()
        # what is written to a deleted file would be lost with the process
        if not (logfiles.is_there(self._file, self.path) and os.fstat(self._file.fileno()).st_size == self._size):
            self._file.close()
            said = "deleted, replaced or changed while the search ran; put it back and run again to resume"
            raise LogWriteError(errno.ENOENT, f"trial log {self.path}: {said}")
        with self._or_cut_to(self._size):
            while unwritten:
                unwritten = unwritten[self._file.write(unwritten) :]
            self._size = self._file.tell()
        if sync:
            self.sync()

    @contextlib.contextmanager
    def _or_cut_to(self, size: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(size)
            self._file.close()
            said = f"cannot write ({error.strerror}); mend that and run again to resume"
            raise LogWriteError(error.errno, f"trial log {self.path}: {said}") from error

    def _cut_torn_line(self, content: bytes) -> None:
        whole = content.rfind(b"\n") + 1
        if whole < len(content) and self._packed:
            self._size = self._synced = whole
        elif whole < len(content) and not self._read_only:
            self._truncate(whole)
            log.warning("trial log %s: cut off a torn last line of %d bytes", self.path, len(content) - whole)

    def _truncate(self, size: int) -> None:
        self._size = self._synced = self._file.truncate(size)


def read(path: Path | str) -> LoggedSearch:
    """Read a log; a torn last line is ignored.

    Raises:
        UserError: no such log, one of another format, or a line before the last that is damaged or duplicated.
    """
    return _parsed(logfiles.named(path), _content(logfiles.named(path)))


def read_header(path: Path | str) -> dict[str, Any]:
    """Read a log's first line alone. Raises `UserError` as `read`, of that line."""
    path = logfiles.named(path)
    return _parsed(path, _content(path).partition(b"\n")[0] + b"\n").header


def _parsed(path: Path, content: bytes) -> LoggedSearch:
    header, trials, end, ids = None, [], None, set()
    for number, line in enumerate(io.BytesIO(content), start=1):  # which copies no more than a line: logs may be large
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"trial log {path}: line {number} is damaged; move the file away or mend it") from error
        if not isinstance(record, dict) or not is_line(record, number, len(trials)) or record.get("id") in ids:
            raise UserError(f"trial log {path}: line {number} is not part of a trial log; move the file away")
        match record.pop("kind"):
            case "header":
                header = record
                if other := other_format(header):
                    raise UserError(f"trial log {path}: {other}; read it with the version that wrote it")
            case "trial":
                record["metrics"] = {name: value for name, value in record["metrics"].items() if value is not None}
                trials.append(Trial(**{k: v for k, v in record.items() if k in _TRIAL_FIELDS}))
                ids.add(record["id"])
                end = None
            case "end":
                end = record
    if header is None:
        raise UserError(f"trial log {path}: has no header; move the file away and run again")
    return LoggedSearch(header, trials, end)


def _content(path: Path) -> bytes:
    try:
        _refuse_device(path)
        return logfiles.content(path)
    except FileNotFoundError as error:
        raise UserError(f"trial log {path}: does not exist; run the search that writes it") from error
    except OSError as error:
        raise UserError(f"trial log {path}: cannot be read ({error.strerror}); give a file that can") from error


def _refuse_device(path: Path) -> None:
    """Raise `UserError` for a device or pipe, such as /dev/null, which keeps no lines or blocks."""
    path = logfiles.form(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(f"trial log {path}: is a device or a pipe; give the name of an ordinary file")


def refuse_other_search(path: Path, fingerprint: dict[str, Any]) -> None:
    """Raise `UserError` unless a search of this fingerprint may continue the file, or take over one without trials."""
    _matching(path, _content(path), fingerprint)


def _matching(path: Path, content: bytes, fingerprint: dict[str, Any]) -> LoggedSearch | None:
    """Parse a file as the log of this fingerprint; None if it holds none yet. Raises as `refuse_other_search`."""
    if b"\n" not in content:  # not even a whole header: a torn first line, if a log at all
        _refuse_foreign(path, content)
        return None
    logged = _parsed(path, content)
    if not logged.is_blank:
        wanted = as_logged(fingerprint)
        before, now = (f.get("optimizer", {}).get("configurations") for f in (logged.fingerprint, wanted))
        if before and now and len(before) != len(now) and all(map(eq, before, now)):
            # The same list made longer or shorter, as by more final trainings: it goes on, wherever it ended.
            wanted["optimizer"]["configurations"] = before
            logged.end = None
        refuse_difference(path, logged.fingerprint, wanted, "another search")
    return logged


def _refuse_foreign(path: Path, content: bytes) -> None:
    if not (content.startswith(BEGINNING) or BEGINNING.startswith(content)):
        raise UserError(f"{path}: is no trial log, though one was to be written there; give another name")


def refuse_difference(path: Path, found: dict[str, Any], wanted: dict[str, Any], what: str) -> None:
    """Raise `UserError` where a logged description differs from the wanted one, also `as_logged`; `what` made it."""
    differing = list(_differences(found, wanted))
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        other_data = all(difference.split(": ")[0].endswith("digest") for difference in differing)
        mend = "find the data that it was made with (see data/README.md)" if other_data else "use the same settings"
        raise UserError(
            f"trial log {path}: made by {what}; differs in {'; '.join(differing[:3])}{more}; "
            f"{mend}, use another folder, or start over (fresh)"
        )


def _differences(found: Any, wanted: Any, place: str = "") -> Iterator[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in sorted(set(found) | set(wanted)):
            yield from _differences(found.get(name), wanted.get(name), f"{place}.{name}" if place else name)
    elif found != wanted:
        yield f"{place}: {_short(found)} in the log, {_short(wanted)} now"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def as_logged(value: Any) -> Any:
    """Convert to what is read back from a log: JSON's types alone. Raises as `dumped`."""
    return json.loads(dumped(value))


def dumped(value: Any) -> str:
    """Format as one line of JSON. Raises `TypeError` for what it cannot hold."""
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    """Convert to JSON types, with NaN and infinity as null, which pandas reads as NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if hasattr(value, "tolist"):  # a number or array of NumPy's or torch's
        return _finite(value.tolist())
    return value
