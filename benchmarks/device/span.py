"""One span on a device: checks, speeds, searches, each within its share of the seconds; what came of them is told."""

import logging
import os
import signal
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.campaign import running
from benchmarks.campaign.running import Entry
from benchmarks.device import loops
from jahslib import paths
from jahslib.errors import UserError
from jahslib.search import logfiles, provenance
from jahslib.search.evaluation import reason_of

log = logging.getLogger(__name__)

SHARES = {"checks": 1, "speed": 1, "searches": 2}  # of the seconds; what a part leaves is for the next ones
RESERVE = 15.0  # seconds in which what came of it is written, and Python starts and ends
FIRST, LATER = 0.01, 0.1  # largest relative differences of losses, in the first epoch and in any; rounding is amplified
EPOCHS, ROUNDS = 3, 2
EXACT, HALF = {"bf16": False}, {"bf16": True}
OF_CUDA = ("tests/training/test_training.py", "tests/models/growing")


class OutOfTime(KeyboardInterrupt):
    """The time of a part is over; like Ctrl-C it is no failure of the trial in training, which is not logged."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` after so many seconds, in the main thread; gradients are afterwards on or off as before."""

    def over(*_) -> None:
        raise OutOfTime

    before, gradients = signal.signal(signal.SIGALRM, over), torch.is_grad_enabled()
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        torch.set_grad_enabled(gradients)  # the end of a `torch.no_grad` may have been interrupted


@dataclass
class Span:
    """A run on `device` that ends `seconds` after `begun` (of `time.monotonic`); `out` gets report and logs."""

    device: str
    seconds: float
    out: Path
    begun: float
    report: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        return self.seconds - RESERVE - (time.monotonic() - self.begun)

    def run(self, parts: Sequence[str], entries: Callable[[], list[Entry]]) -> int:
        """Returns how many units failed."""
        torch.set_num_threads(1)
        self.tell(f"# A span of {self.seconds:g} s on {self.device}", "", self._machine())
        failed = 0
        doing = {"checks": self.checks, "speed": self.speed, "searches": lambda _: self.searches(entries)}
        chosen = [part for part in SHARES if part in parts]
        for i, part in enumerate(chosen):
            begun, share = time.monotonic(), SHARES[part] / sum(SHARES[p] for p in chosen[i:])
            self.tell("", f"## {part.capitalize()}", "")
            failed += doing[part](begun + share * self.left)
            self.tell("", f"Took {time.monotonic() - begun:.0f} s.")
        self.tell("", f"{time.monotonic() - self.begun:.0f} of {self.seconds:g} s; {failed} failed.")
        return failed

    def tell(self, *lines: str) -> None:
        self.report += lines
        for line in filter(None, lines):
            log.info("%s", line)
        paths.write(self.out / "report.md", "\n".join(self.report) + "\n")

    def _machine(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in provenance.versions().items())
        name, cuda = provenance.device_name(self.device), torch.version.cuda or "none"
        return f"{name}; {os.cpu_count()} cores; CUDA {cuda}; {versions}; commit {provenance.commit() or 'unknown'}."

    def rows(self, units: Sequence[tuple[str, Callable[[], str]]], end: float, width: int) -> int:
        """A row a unit, each with an equal part of the time left; a failure or a lack of time is told in its row."""
        failed = 0
        for i, (name, unit) in enumerate(units):
            try:
                with within((end - time.monotonic()) / (len(units) - i)):
                    row = unit()
            except OutOfTime:
                row = "out of time"
            except Exception as error:
                failed, row = failed + 1, f"failed: {reason_of(error).replace('|', '/')}"
                log.debug(name, exc_info=True)
            self.tell(f"| {name} | {row} |" + " |" * (width - 1 - row.count(" | ")))
        return failed

    # Checks ------------------------------------------------------------------------------------------------------

    def checks(self, end: float) -> int:
        self.tell("| what | losses apart in the first epoch, in any |", "|---|---|")
        units: list[tuple[str, Callable[[], str]]] = []
        for loop in loops.CHECKED:
            units.append((f"{loop.name}: {self.device} beside cpu", lambda o=loop: self.apart(o, EXACT, EXACT, "cpu")))
            if loop.captures:
                units.append((f"{loop.name}: captured beside eager", lambda o=loop: self.captured(o)))
            if not isinstance(loop, loops.Search):  # which is in float32 everywhere
                units.append((f"{loop.name}: bfloat16 beside float32", lambda o=loop: self.halved(o)))
        return self.rows([*units, ("tests of CUDA", lambda: self.tests(end))], end, 1)

    def apart(self, loop: loops.Loop, one: dict, other: dict, device: str = "", *, learns: bool = False) -> str:
        """How far two trainings are apart, in words; `device`: of the other, by default the same.

        Raises:
            AssertionError: too far (bfloat16 is only held to the second bound), or nothing is learnt.
        """
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            a, b = loop.ours(self.device, **one), loop.ours(device or self.device, **other)
            pairs = [(a(), b()) for _ in range(EPOCHS)]
        apart = [abs(x / y - 1) for x, y in pairs]
        told = f"{apart[0]:.1e}, {max(apart):.1e}"
        assert apart[0] < (LATER if learns else FIRST) and max(apart) < LATER, told
        assert not learns or pairs[-1][0] < pairs[0][0], f"{told}; the loss does not fall: {pairs[0][0]} {pairs[-1][0]}"
        return told

    @property
    def _on_cuda(self) -> bool:
        return self.device.startswith("cuda")

    def halved(self, loop: loops.Loop) -> str:
        return self.apart(loop, HALF, EXACT, learns=True) if self._on_cuda else "on CUDA only"

    def captured(self, loop: loops.Loop) -> str:
        if not self._on_cuda:
            return "on CUDA only"
        probe = loop.training(self.device, **EXACT)
        probe.run(1)
        assert probe._graphed_step is not None, "the step was not captured"
        return self.apart(loop, EXACT, EXACT | {"graph": False})

    def tests(self, end: float) -> str:
        """The package's own tests that need CUDA."""
        run = f"import sys; sys.path[:] = {sys.path!r}; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
        options = ["-q", "-k", "cuda", "-p", "no:cacheprovider", *OF_CUDA]
        limit = max(1.0, end - time.monotonic())
        try:
            done = subprocess.run([sys.executable, "-c", run, *options], capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            raise OutOfTime from None
        said = (done.stdout.strip() or done.stderr.strip()).splitlines()[-1]
        assert done.returncode == 0, said
        return said

    # Speeds ------------------------------------------------------------------------------------------------------

    def speed(self, end: float) -> int:
        head = f"loop | ours on {self.device}, images/s | ordinary there | ours / ordinary | ours on cpu, one thread"
        self.tell(f"| {head} | {self.device} / cpu |", "|---|---|---|---|---|---|")
        share = (end - time.monotonic()) / len(loops.LOOPS)
        return self.rows([(loop.name, lambda o=loop: self.paces(o, share / 10)) for loop in loops.LOOPS], end, 5)

    def paces(self, loop: loops.Loop, seconds: float) -> str:
        """Rates of a loop; ours and the ordinary one alternate, each so long and at least one epoch."""
        ours, ordinary, cpu = loop.ours(self.device), loop.ordinary(self.device), loop.ours("cpu")
        for warm_up in (ours, ordinary, cpu):
            warm_up()
        pairs = [[loops.pace(e, loop.images, seconds) for e in (ours, ordinary)] for _ in range(ROUNDS)]
        on_cpu = loops.pace(cpu, loop.images, seconds)
        here, there = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratios = [a / b for a, b in pairs]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        return f"{here:,.0f} | {there:,.0f} | {spread} | {on_cpu:,.0f} | {here / on_cpu:.1f}"

    # Searches ----------------------------------------------------------------------------------------------------

    def searches(self, entries: Callable[[], list[Entry]]) -> int:
        listed: list[Entry] = []
        before: list[str] = []
        left_out = []
        try:
            with within(self.left):
                listed = entries()
                before = [_progress(entry) for entry in listed]
                for entry in listed:
                    if running.run_on([entry]):  # which logs why
                        left_out.append(entry.name)
                    self.bring_back(listed)
        except OutOfTime:
            pass
        self.bring_back(listed)
        after = [_progress(entry) for entry in listed[: len(before)]]
        self.tell("| search | before | after |", "|---|---|---|")
        self.tell(*(f"| {e.name} | {b} | {a} |" for e, b, a in zip(listed, before, after, strict=False)))
        if left_out:
            self.tell("", f"Left out, as they could not be run: {', '.join(left_out)}.")
        return len(left_out)

    def bring_back(self, listed: Sequence[Entry]) -> None:
        """Write the logs of the list, all that there are, into one archive in `out`."""
        self.out.mkdir(parents=True, exist_ok=True)
        part = self.out / ".logs.part"
        with tarfile.open(part, "w:gz") as archive:
            for log_file in logs_of(listed):
                archive.add(log_file, log_file.relative_to(paths.outputs()))
        part.replace(self.out / "logs.tar.gz")


def logs_of(listed: Sequence[Entry]) -> list[Path]:
    """The trial logs of the list that there are, in the form in which they are."""
    found = []
    for entry in listed:
        with suppress(UserError):  # of a search that cannot be made here
            if (run := entry.make()) is not None and logfiles.exists(run.log):
                found.append(logfiles.form(run.log))
    return found


def _progress(entry: Entry) -> str:
    try:
        return running.state(entry).progress
    except UserError as error:
        return f"cannot be run: {error}"
