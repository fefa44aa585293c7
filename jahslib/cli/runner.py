"""Run the notebooks headless, build paper.pdf and report: `python -m jahslib run --help`.

Only the standard library is imported at module level: run_all.sh checks its options with this file before anything is
installed. Papermill executes each notebook in a process of its own, so that a dying kernel takes nothing else with it.
"""

import argparse
import ast
import difflib
import fcntl
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jahslib.cli.commands import Parser, refuse
from jahslib.errors import UserError
from jahslib.paths import ROOT, outputs, results

COMMON = ("profile", "device", "workers", "scheduler", "seeds", "fresh")  # parameters that every notebook has
PYTHON_VERSIONS = "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))"
LONG = 300.0  # seconds; rates of smaller trainings underestimate the originals' scale, so the threshold is low
PAPERMILL_NOISE = re.compile(r"(Input|Output) Notebook:|Working directory:|Executing|Ending Cell|\[IPKernelApp\]|\s*$")


@dataclass
class Row:
    """One line of the summary."""

    notebook: str
    status: str
    minutes: str
    trials: str = ""
    device: str = ""


def options(argv: list[str], notebooks: Path) -> argparse.Namespace:
    """Parse and check the command line; reads the notebooks' `parameters` cells, writes nothing.

    Adds `selected` (notebook paths) and `overrides` (for each of them a dict of its own parameters).

    Raises:
        UserError: a wrong option.
    """
    parser = Parser("run_all.sh", allow_abbrev=False, description="Run the notebooks and build paper.pdf.")
    add = parser.add_argument
    profile = _text("smoke|cpu|paper", "unknown profile {!r}; choose one of smoke, cpu, paper")
    device = _text(r"auto|cpu|cuda(:\d+)?", "unknown device {!r}; choose one of auto, cpu, cuda, cuda:N")
    workers = _text(r"0*[1-9]\d*", "{!r} is not a positive whole number", int)
    scheduler = _text(r"(tcp|tls)://[^\s/]+:\d{1,5}", "{!r} is not an address such as tcp://host:8786")
    add("--profile", type=profile, default="smoke", help="smoke (a minute a notebook; the default), cpu or paper")
    add("--device", type=device, default="auto", help="auto (CUDA if there is one; the default), cpu, cuda or cuda:N")
    add("--only", metavar="07,01", help="run these notebooks only, by number or name")
    add("--workers", type=workers, metavar="N", help="work on N trials at once (default: cores; 1 on CUDA or in smoke)")
    add("--scheduler", type=scheduler, metavar="tcp://HOST:PORT", help="evaluate trials on this Dask cluster")
    add("--seeds", type=_seeds, metavar="0,1,2", help="seeds of every search (default: the profile's)")
    add("--python", type=_python, metavar="PATH", help="use this environment's Python and install nothing")
    add("--fresh", action="store_true", help="start over; without it, what is unfinished is resumed")
    add("--yes", action="store_true", help="start the paper profile on a CPU too, whatever it takes")
    repeated = "set a parameter of every selected notebook that has it; may be repeated"
    add("-p", "--parameter", type=_parameter, action="append", default=[], metavar="NAME=VALUE", help=repeated)
    add("--check", action="store_true", help="check the options and stop")
    args = parser.parse_args(argv)
    args.selected = _select(args.only, notebooks)
    args.overrides = _overrides(dict(args.parameter), args.selected)
    return args


def _text(pattern: str, complaint: str, convert: Callable[[str], Any] = str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(complaint.format(text))
        return convert(text)

    return parse


def _seeds(text: str) -> list[int]:
    seeds = [int(part) for part in text.split(",")] if re.fullmatch(r"\d{1,9}(,\d{1,9})*", text) else []
    if not seeds or len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of different whole numbers such as 0,1,2")
    return seeds


def _python(text: str) -> str:
    try:
        usable = subprocess.run([text, "-P", "-c", PYTHON_VERSIONS], capture_output=True).returncode == 0
    except OSError:
        usable = False
    if not usable:
        raise argparse.ArgumentTypeError(f"{text!r} is not a Python 3.11 to 3.14")
    return text


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    if name in COMMON:
        raise argparse.ArgumentTypeError(f"{name} has an option of its own: --{name}")
    try:
        parsed = ast.literal_eval(value)
        json.dumps(parsed)
    except (ValueError, SyntaxError):
        return name, value
    except TypeError:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number, text, list, dict, True, False or None") from None
    return name, parsed


def _select(only: str | None, notebooks: Path) -> list[Path]:
    known = sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))
    if not known:
        raise UserError(f"no notebook in {notebooks}; run this in a copy of the project")
    if only is None:
        return known
    chosen = set()
    for wanted in only.split(","):
        matching = {path for path in known if wanted in (path.stem, path.stem[:2], path.stem[:2].lstrip("0"))}
        if not matching:
            raise UserError(f"--only: unknown notebook {wanted!r}; choose from {', '.join(p.stem for p in known)}")
        chosen |= matching
    return sorted(chosen)


def _overrides(parameters: dict[str, Any], selected: list[Path]) -> list[dict[str, Any]]:
    if not parameters:
        return [{} for _ in selected]
    names = [_parameter_names(path) for path in selected]
    known = sorted(set().union(*names).difference(COMMON))
    for name in parameters:
        if name not in known:
            close = difflib.get_close_matches(name, known)
            mend = f"did you mean {' or '.join(close)}?" if close else f"choose from {', '.join(known)}"
            raise UserError(f"-p/--parameter: no selected notebook has a parameter {name!r}; {mend}")
    return [{name: value for name, value in parameters.items() if name in own} for own in names]


def _parameter_names(notebook: Path) -> set[str]:
    """Collect the names that the cell tagged `parameters` assigns."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        tagged = ["".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
        nodes = list(ast.walk(ast.parse("\n".join(tagged))))
    except (ValueError, KeyError, SyntaxError) as error:
        raise UserError(f"{notebook}: its parameters cannot be read ({error})") from None
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def run(args: argparse.Namespace) -> int:
    """Execute the selected notebooks, build the paper, print the summary.

    Returns 0 if all went well, 1 if anything failed.

    Raises:
        UserError: with nothing written, for an environment, device or scheduler that is not there, and for parameters
            with which a notebook cannot work.
    """
    if missing := [name for name in ("torch", "papermill", "ipykernel") if not importlib.util.find_spec(name)]:
        raise UserError(f"--python: {sys.executable} lacks {', '.join(missing)}; install requirements.lock there")
    device, device_name = _find_device(args.device)
    if args.scheduler:
        _knock(args.scheduler)
    # A smoke run is over before worker processes have imported what they need.
    workers = args.workers or (_cores() if device == "cpu" and args.profile != "smoke" else 1)
    given = {name: getattr(args, name) for name in ("scheduler", "seeds", "fresh") if getattr(args, name)}
    common = {"profile": args.profile, "device": device, "workers": workers, **given}
    plan = [(notebook, common | own) for notebook, own in zip(args.selected, args.overrides, strict=True)]
    from jahslib.experiments.notebook import check

    logs = [check(notebook, parameters) for notebook, parameters in plan]
    if args.profile == "paper" and device == "cpu":
        _weigh(plan, workers, goes_on=args.yes)
    rows = [Row("notebook", "status", "minutes", "trials", "device")]
    with _lock(outputs() / "results" / args.profile) as token:
        for (notebook, parameters), place in zip(plan, logs, strict=True):
            rows.append(_execute(notebook, parameters, place, token, device_name))
        rows.append(_build_paper())
    widths = [max(len(cell) for cell in column) for column in zip(*map(astuple, rows), strict=True)]
    print()
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(astuple(row), widths, strict=True)).rstrip())
    return int(any(row.status != "ok" for row in rows[1:]))


def _weigh(plan: list[tuple[Path, dict[str, Any]]], workers: int, *, goes_on: bool) -> None:
    """Print the estimated time of the originals' scale on this CPU.

    Raises:
        UserError: it is long, and `goes_on` is not set.
    """
    from jahslib.cli import cost
    from jahslib.search.watch import duration

    parts, seconds, unknown = [], 0.0, 0.0
    for notebook, parameters in plan:
        left = cost.left(notebook, parameters)
        seconds, unknown = seconds + left.seconds, unknown + left.epochs
        said = [f"{left.epochs:,.0f} epochs of unknown length"] if left.epochs else []
        if left.seconds or not said:
            said.insert(0, duration(left.seconds / workers))
        parts.append(f"{notebook.stem[:2]} {' and '.join(said)}")
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


def _find_device(wanted: str) -> tuple[str, str]:
    """Resolve the torch device, with its name for people."""
    if wanted != "cpu":
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = int(wanted.partition(":")[2] or 0)
        if index < count:
            return "cuda" if wanted == "auto" else wanted, torch.cuda.get_device_name(index)
        if wanted != "auto":
            raise UserError(f"--device: no {wanted} here (CUDA devices: {count}); choose auto or cpu")
    return "cpu", "cpu (1 thread a training)"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _knock(scheduler: str) -> None:
    try:
        address = urlsplit(scheduler)
        socket.create_connection((address.hostname, address.port), timeout=10).close()
    except (OSError, ValueError) as error:
        raise UserError(f"--scheduler: nothing answers at {scheduler} ({error}); start `dask scheduler`") from None


@contextmanager
def _lock(folder: Path) -> Iterator[str]:
    """Lock a profile against a second run; yields the token of the run's processes.

    By the token the processes that a killed run left behind are ended first.
    """
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
    """End every process started under this token.

    Kernels and their workers have sessions of their own.
    """
    import psutil

    ended = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("JAHSLIB_RUN") == token:
                process.kill()
                ended.append(process)
        except (psutil.Error, OSError):
            continue  # gone already, or another user's
    psutil.wait_procs(ended, timeout=10)


def _execute(notebook: Path, parameters: dict[str, Any], logs: Path, token: str, device_name: str) -> Row:
    import yaml

    from jahslib.search import logfiles

    folder = results(parameters["profile"], notebook.stem)
    done = folder / "executed" / notebook.name
    partial, log = done.with_suffix(".partial.ipynb"), done.with_suffix(".log")
    done.parent.mkdir(parents=True, exist_ok=True)
    number, start = notebook.stem[:2], time.monotonic()
    print(f"[{number}] {notebook.stem} starts", flush=True)
    command = [sys.executable, "-P", "-m", "papermill", str(notebook), str(partial), "--cwd", str(notebook.parent)]
    # yaml.safe_dump keeps every type; json.dumps would not, since a YAML reader takes 1e-05 for text.
    command += ["-k", "python3", "--log-output", "--no-progress-bar", "-y", yaml.safe_dump(parameters)]
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
                    print(f"[{number}] {line}", flush=True)
    _end_processes(token)
    if code == 0:
        partial.replace(done)
    status, minutes = "failed" if code else "ok", f"{(time.monotonic() - start) / 60:.1f}"
    print(f"[{number}] {status} after {minutes} min" + (f" (exit code {code}); see {log}" if code else ""), flush=True)
    found = logfiles.found(logs)
    trials = sum(len(re.findall(rb'"kind": ?"trial"', logfiles.content(log))) for log in found)
    return Row(notebook.stem, status, minutes, str(trials), device_name)


def _environment(token: str, *, smoke: bool) -> dict[str, str]:
    """Build a notebook's environment: absolute folders, this jahslib, this interpreter's kernel."""
    env = os.environ | {"JAHSLIB_RUN": token, "JAHSLIB_RESULTS": str(outputs())}
    env["PYTHONUTF8"] = "1"  # notebooks and logs are UTF-8 in any locale
    # For computations outside of a search: waiting threads would spin, on a busy machine for minutes.
    env.setdefault("OMP_WAIT_POLICY", "passive")
    if smoke:
        env.setdefault("OMP_NUM_THREADS", "1")
    if env.get("JAHSLIB_DATA"):
        env["JAHSLIB_DATA"] = str(Path(env["JAHSLIB_DATA"]).expanduser().resolve())
    for name, first in (("PYTHONPATH", ROOT), ("JUPYTER_PATH", Path(sys.prefix, "share", "jupyter"))):
        env[name] = os.pathsep.join([str(first), *filter(None, [env.get(name)])])
    return env


def _build_paper() -> Row:
    start = time.monotonic()
    try:
        from jahslib.reporting.paper import build

        status, text = "ok", str(build())
    except Exception as error:  # whatever is wrong with the paper, the notebooks are still to be summed up
        status, text = "failed", f"{type(error).__name__}: {error}"
    print(f"[paper] {status}: {text}", flush=True)
    return Row("paper.pdf", status, f"{(time.monotonic() - start) / 60:.1f}")


def main(argv: list[str] | None = None, notebooks: Path = ROOT / "notebooks") -> int:
    """Run the command.

    Exit code: 0 all well, 1 something failed, 2 wrong options (one line on stderr, nothing written), 130 Ctrl-C.
    """
    try:
        args = options(sys.argv[1:] if argv is None else argv, notebooks)
        if args.check:
            return 0
        for ending in (signal.SIGTERM, signal.SIGHUP):  # a batch system's stop and a closed terminal end it like Ctrl-C
            if signal.getsignal(ending) == signal.SIG_DFL:
                signal.signal(ending, signal.default_int_handler)
        return run(args)
    except UserError as error:
        return refuse("run_all.sh", error)
    except KeyboardInterrupt:
        print("\nrun_all.sh: interrupted; the same command resumes where it stopped", file=sys.stderr)
        return 130
