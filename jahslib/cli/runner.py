"""Run the notebooks headless, build paper.pdf and report: `python -m jahslib run --help`.

Only the standard library is imported at module level: run_all.sh checks its options before anything is installed.
Papermill executes each notebook in a process of its own, so that a dying kernel takes nothing else with it.

In the project, notebooks, results and the paper are its own, wherever it is called; else they are the current folder's,
as are results of notebooks that are named and lie outside of the project.
"""

import argparse
import fcntl
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from jahslib.cli.commands import refuse
from jahslib.cli.run_options import COMMAND, number, options
from jahslib.errors import UserError
from jahslib.extras import require
from jahslib.paths import ROOT, home, is_checkout, outputs, results

LONG = 300.0  # seconds; rates of smaller trainings underestimate the originals' scale, so the threshold is low
PAPERMILL_NOISE = re.compile(r"(Input|Output) Notebook:|Working directory:|Executing|Ending Cell|\[IPKernelApp\]|\s*$")


class Row(NamedTuple):
    """One line of the summary."""

    notebook: str
    status: str
    minutes: str
    trials: str = ""
    device: str = ""


def run(args: argparse.Namespace) -> int:
    """Execute the selected notebooks, build the paper, print the summary; returns 0 if all went well, else 1.

    Raises:
        UserError: with nothing written, for an environment, device or scheduler that is not there, and for parameters
            with which a notebook cannot work.
    """
    needed = ("torch", "papermill", "ipykernel") if is_checkout() else ()
    if missing := [name for name in needed if not importlib.util.find_spec(name)]:
        raise UserError(f"--python: {sys.executable} lacks {', '.join(missing)}; install requirements.lock there")
    require("notebooks", "papermill", "ipykernel", "psutil", "yaml")
    from jahslib.experiments.notebook import check
    from jahslib.experiments.settings import found_device
    from jahslib.search.provenance import device_name

    device = found_device(args.device, "--device")
    described = "cpu (1 thread a training)" if device == "cpu" else device_name(device)
    if args.scheduler:
        _knock(args.scheduler)
    # A smoke run is over before worker processes have imported what they need.
    at_once = len(os.sched_getaffinity(0)) if device == "cpu" and args.profile != "smoke" else 1
    workers = args.workers or at_once
    given = {name: getattr(args, name) for name in ("scheduler", "seeds", "fresh") if getattr(args, name)}
    common = {"profile": args.profile, "device": device, "workers": workers, **given}
    plan = [(notebook, common | own) for notebook, own in zip(args.selected, args.overrides, strict=True)]
    # absolute, since each notebook runs in its own folder
    os.environ.setdefault("JAHSLIB_RESULTS", str(Path.cwd() if args.elsewhere and is_checkout() else home()))
    os.environ["JAHSLIB_RESULTS"] = str(outputs())
    if data := os.environ.get("JAHSLIB_DATA"):
        os.environ["JAHSLIB_DATA"] = str(Path(data).expanduser().resolve())
    logs = []
    for notebook, parameters in plan:
        with chdir(notebook.parent):  # which it will run in
            logs.append(check(notebook, parameters))
    if args.profile == "paper" and device == "cpu":
        _weigh(plan, workers, goes_on=args.yes)
    rows = [Row("notebook", "status", "minutes", "trials", "device")]
    with _lock(outputs() / "results" / args.profile) as token:
        for (notebook, parameters), place in zip(plan, logs, strict=True):
            rows.append(_execute(notebook, parameters, place, token, described))
        if (home() / "paper").is_dir() and not args.elsewhere:
            rows.append(_build_paper())
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print()
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return int(any(row.status != "ok" for row in rows[1:]))


def _weigh(plan: list[tuple[Path, dict[str, Any]]], workers: int, *, goes_on: bool) -> None:
    """Print the estimated time of the originals' scale on this CPU; refuse a long one unless `goes_on` is set."""
    from jahslib.cli import cost
    from jahslib.search.watch import duration

    parts, seconds, unknown = [], 0.0, 0.0
    for notebook, parameters in plan:
        left = cost.left(notebook, parameters)
        seconds, unknown = seconds + left.seconds, unknown + left.epochs
        said = [f"{left.epochs:,.0f} epochs of unknown length"] if left.epochs else []
        if left.seconds or not said:
            said.insert(0, duration(left.seconds / workers))
        parts.append(f"{number(notebook)} {' and '.join(said)}")
    if seconds / workers < LONG and not unknown:
        return
    told = (
        f"--profile paper on a CPU: at least {duration(seconds / workers)} of training "
        f"with {workers} worker{'s' if workers > 1 else ''}, by the trials logged so far, most of them of fewer "
        f"images and smaller networks ({', '.join(parts)})"
    )
    if not goes_on:
        raise UserError(f"{told}; add --yes to start all the same, or use --profile cpu")
    print(told, flush=True)


def _knock(scheduler: str) -> None:
    try:
        address = urlsplit(scheduler)
        socket.create_connection((address.hostname, address.port), timeout=10).close()
    except (OSError, ValueError) as error:
        raise UserError(f"--scheduler: nothing answers at {scheduler} ({error}); start `dask scheduler`") from None


@contextmanager
def _lock(folder: Path) -> Iterator[str]:
    """Lock a profile against a second run; yields the token by which processes that a killed run left are ended."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another run is at work in {folder}; wait for it or stop it") from None
        token = str(folder)
        _end_processes(token)
        try:
            yield token
        finally:
            _end_processes(token)


def _end_processes(token: str) -> None:
    """End every process started under this token: kernels and their workers have sessions of their own."""
    import psutil

    ended = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # gone already, or another user's
            if process.environ().get("JAHSLIB_RUN") == token:
                process.kill()
                ended.append(process)
    psutil.wait_procs(ended, timeout=10)


def _execute(notebook: Path, parameters: dict[str, Any], logs: Path, token: str, device_name: str) -> Row:
    import yaml

    from jahslib.search import logfiles

    folder = results(parameters["profile"], notebook.stem)
    done = folder / "executed" / notebook.name
    partial, log = done.with_suffix(".partial.ipynb"), done.with_suffix(".log")
    done.parent.mkdir(parents=True, exist_ok=True)
    label, start = f"[{number(notebook)}]", time.monotonic()
    print(f"{label} {notebook.stem} starts", flush=True)
    command = [sys.executable, "-P", "-m", "papermill", str(notebook), str(partial), "--cwd", str(notebook.parent)]
    # yaml.safe_dump keeps every type; json.dumps would not, since a YAML reader takes 1e-05 for text.
    # The language, as a notebook that a program wrote may not name it.
    command += ["-k", "python3", "-l", "python", "--log-output", "--no-progress-bar", "-y", yaml.safe_dump(parameters)]
    # Through a file, since a worker that outlives a dead kernel would hold a pipe open.
    with log.open("wb") as sink, log.open(encoding="utf-8", errors="replace") as source:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": sink, "stderr": subprocess.STDOUT}
        env = _environment(token, smoke=parameters["profile"] == "smoke")
        child = subprocess.Popen(command, env=env, start_new_session=True, **pipes)
        code, rest = None, ""
        while code is None:
            time.sleep(0.2)
            code = child.poll()
            *lines, rest = (rest + source.read()).split("\n")
            for line in lines:
                if not PAPERMILL_NOISE.match(line):
                    print(f"{label} {line}", flush=True)
    _end_processes(token)
    if code == 0:
        partial.replace(done)
    status, minutes = "failed" if code else "ok", f"{(time.monotonic() - start) / 60:.1f}"
    print(f"{label} {status} after {minutes} min" + (f" (exit code {code}); see {log}" if code else ""), flush=True)
    found = logfiles.found(logs)
    trials = sum(len(re.findall(rb'"kind": ?"trial"', logfiles.content(log))) for log in found)
    return Row(notebook.stem, status, minutes, str(trials), device_name)


def _environment(token: str, *, smoke: bool) -> dict[str, str]:
    env = os.environ | {"JAHSLIB_RUN": token, "PYTHONUTF8": "1"}  # notebooks and logs are UTF-8 in any locale
    # For computations outside of a search: waiting threads would spin, on a busy machine for minutes.
    env.setdefault("OMP_WAIT_POLICY", "passive")
    if smoke:
        env.setdefault("OMP_NUM_THREADS", "1")
    first = {"JUPYTER_PATH": str(Path(sys.prefix, "share", "jupyter"))}
    if is_checkout():
        first["PYTHONPATH"] = str(ROOT)
    return env | {name: os.pathsep.join(filter(None, [place, env.get(name)])) for name, place in first.items()}


def _build_paper() -> Row:
    start = time.monotonic()
    try:
        from jahslib.reporting.paper import build

        status, text = "ok", str(build())
    except Exception as error:  # whatever is wrong with the paper, the notebooks are still to be summed up
        status, text = "failed", f"{type(error).__name__}: {error}"
    print(f"[paper] {status}: {text}", flush=True)
    return Row("paper.pdf", status, f"{(time.monotonic() - start) / 60:.1f}")


def main(argv: list[str] | None = None, notebooks: Path | None = None) -> int:
    """Run the command, by default on the folder `notebooks`.

    Exit code: 0 all well, 1 something failed, 2 wrong options (one line on stderr, nothing written), 130 Ctrl-C.
    """
    try:
        args = options(sys.argv[1:] if argv is None else argv, notebooks or home() / "notebooks")
        if args.check:
            return 0
        for ending in (signal.SIGTERM, signal.SIGHUP):  # a batch system's stop and a closed terminal end it like Ctrl-C
            if signal.getsignal(ending) == signal.SIG_DFL:
                signal.signal(ending, signal.default_int_handler)
        return run(args)
    except UserError as error:
        return refuse(COMMAND, error)
    except KeyboardInterrupt:
        print(f"\n{COMMAND}: interrupted; the same command resumes where it stopped", file=sys.stderr)
        return 130
