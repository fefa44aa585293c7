"""The command line of `jahslib run`, checked before anything is installed or written; standard library only."""

import argparse
import ast
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jahslib.cli.commands import Parser
from jahslib.errors import UserError, refuse_unknown
from jahslib.experiments.notebook import cells, in_folder
from jahslib.paths import home, is_checkout

COMMAND = "run_all.sh" if is_checkout() else "jahslib run"
COMMON = ("profile", "device", "workers", "scheduler", "seeds", "fresh")  # parameters that every notebook has
PYTHON_VERSIONS = "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))"


def options(argv: list[str], notebooks: Path) -> argparse.Namespace:
    """Parse and check the command line; reads the notebooks' `parameters` cells, by default of the folder `notebooks`.

    Adds `selected` (notebook paths), `overrides` (for each of them a dict of its own parameters) and `elsewhere`
    (whether a notebook that is named lies outside of the project, or of the current folder where there is none).
    Raises `UserError` for a wrong option, and writes nothing.
    """
    parser = Parser(COMMAND, allow_abbrev=False, description="Run the notebooks and build paper.pdf.")
    add = parser.add_argument
    profile = _text("smoke|cpu|paper", "unknown profile {!r}; choose one of smoke, cpu, paper")
    device = _text(r"auto|cpu|cuda(:\d+)?", "unknown device {!r}; choose one of auto, cpu, cuda, cuda:N")
    workers = _text(r"0*[1-9]\d*", "{!r} is not a positive whole number", int)
    scheduler = _text(r"(tcp|tls)://[^\s/]+:\d{1,5}", "{!r} is not an address such as tcp://host:8786")
    different = "{!r} is not a list of different whole numbers such as 0,1,2"
    seeds = _text(r"\d{1,9}(,\d{1,9})*", different, _different)
    python = _text("(?s).*", "{!r} is not a Python 3.11 to 3.14", _usable)
    add("notebooks", nargs="*", metavar="NOTEBOOK", help="run these files (default: all of the folder notebooks)")
    add("--profile", type=profile, default="smoke", help="smoke (a minute a notebook; the default), cpu or paper")
    add("--device", type=device, default="auto", help="auto (CUDA if there is one; the default), cpu, cuda or cuda:N")
    add("--only", metavar="07,01", help="run these notebooks only, by number or name")
    add("--workers", type=workers, metavar="N", help="work on N trials at once (default: cores; 1 on CUDA or in smoke)")
    add("--scheduler", type=scheduler, metavar="tcp://HOST:PORT", help="evaluate trials on this Dask cluster")
    add("--seeds", type=seeds, metavar="0,1,2", help="seeds of every search (default: the profile's)")
    if is_checkout():
        add("--python", type=python, metavar="PATH", help="use this environment's Python and install nothing")
    add("--fresh", action="store_true", help="start over; without it, what is unfinished is resumed")
    add("--yes", action="store_true", help="start the paper profile on a CPU too, however long it takes")
    repeated = "set a parameter of every selected notebook that has it; may be repeated"
    add("-p", "--parameter", type=_parameter, action="append", default=[], metavar="NAME=VALUE", help=repeated)
    add("--check", action="store_true", help="check the options and stop")
    args = parser.parse_args(argv)
    known = _named(args.notebooks) or in_folder(notebooks)
    if not known:
        raise UserError(f"no notebook in {notebooks}; put one there, or give its path: jahslib run NOTEBOOK.ipynb")
    args.selected = _select(args.only, known)
    for path in args.selected:
        cells(path)  # which refuses what is no notebook
    args.elsewhere = bool(args.notebooks) and not all(path.resolve().is_relative_to(home()) for path in args.selected)
    args.overrides = _overrides(dict(args.parameter), args.selected)
    return args


def _text(pattern: str, complaint: str, convert: Callable[[str], Any] = str) -> Callable[[str], Any]:
    """Make a type of option from the form of its text; what `convert` makes None of is refused too."""

    def parse(text: str) -> Any:
        made = convert(text) if re.fullmatch(pattern, text) else None
        if made is None:
            raise argparse.ArgumentTypeError(complaint.format(text))
        return made

    return parse


def _different(text: str) -> list[int] | None:
    seeds = [int(part) for part in text.split(",")]
    return seeds if len(set(seeds)) == len(seeds) else None


def _usable(python: str) -> str | None:
    try:
        done = subprocess.run([python, "-P", "-c", PYTHON_VERSIONS], capture_output=True)
    except OSError:
        return None
    return python if done.returncode == 0 else None


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


def _named(files: list[str]) -> list[Path]:
    """Return the absolute paths of notebooks; their results are kept by name, so no two may share one."""
    paths: dict[str, Path] = {}
    for file in files:
        path = Path(os.path.abspath(file))
        if path.suffix != ".ipynb" or not path.is_file():
            raise UserError(f"no notebook {file!r}; give the path of an .ipynb file")
        if paths.setdefault(path.stem, path) != path:
            raise UserError(f"two notebooks are named {path.name}, and would share their results; rename one")
    return list(paths.values())


def number(notebook: Path) -> str:
    """Return a notebook's number, such as 07, or its name if that does not begin with one."""
    return notebook.stem[:2] if re.match(r"\d\d_", notebook.stem) else notebook.stem


def _select(only: str | None, known: list[Path]) -> list[Path]:
    if only is None:
        return known
    chosen = set()
    for wanted in only.split(","):
        matching = {path for path in known if wanted in (path.stem, number(path), number(path).lstrip("0"))}
        if not matching:
            raise UserError(f"--only: unknown notebook {wanted!r}; choose from {', '.join(p.stem for p in known)}")
        chosen |= matching
    return sorted(chosen)


def _overrides(parameters: dict[str, Any], selected: list[Path]) -> list[dict[str, Any]]:
    if not parameters:
        return [{} for _ in selected]
    names = [_parameter_names(path) for path in selected]
    known = sorted(set().union(*names).difference(COMMON))
    refuse_unknown("-p/--parameter: of the selected notebooks, parameter", parameters, known)
    return [{name: value for name, value in parameters.items() if name in own} for own in names]


def _parameter_names(notebook: Path) -> set[str]:
    try:
        nodes = list(ast.walk(ast.parse("\n".join(cells(notebook, "parameters")))))
    except SyntaxError as error:
        raise UserError(f"{notebook}: its parameters cannot be read ({error})") from None
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
