"""A study's options: defaults by profile, each of which a notebook parameter may override."""

import ast
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar, get_type_hints

from jahslib.core.optimizer import checked_seed
from jahslib.errors import UserError
from jahslib.experiments import cfg
from jahslib.experiments.settings import found_device

PROFILES = ("smoke", "cpu", "paper")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What every study has: its profile, what that changes against the original, and where and how it runs."""

    profile: str
    note: str
    device: str = "auto"
    workers: int = 1
    scheduler: str | None = None
    fresh: bool = False


Options = TypeVar("Options", bound=RunOptions)


def resolve(options: type[Options], defaults: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> Options:
    """Options of the profile named in `given["profile"]`, overridden by whatever else in `given` is not None.

    The device "auto" becomes "cuda" where there is one, else "cpu"; lists become tuples where an option is one. The
    text "none" stands for None, which says "as the profile has it", in every option that may be None.

    Raises:
        UserError: an unknown profile or option, a value of another type than the option's, or one with which no study
            works, such as a device that is not there.
    """
    profile = given["profile"]
    if profile not in PROFILES:
        raise UserError(f"profile: {profile!r} is unknown; choose one of {', '.join(PROFILES)}")
    known = {f.name for f in fields(options)}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(known))}"
            raise UserError(f"parameter {name!r} is unknown{hint}")
    hints = get_type_hints(options)
    named = {
        k: None if cfg.says_none(v, hints[k]) else cfg.checked(v, hints[k], f"parameter {k}")
        for k, v in given.items()
        if v is not None
    }
    made = options(**{**defaults[profile], **named})
    for name in ("seeds", "table_seeds"):
        _refuse_seeds(name, getattr(made, name, ()))
    refuse_less(made, 1, "workers", *(name for name in ("per_class", "batch_size") if name in known))
    return replace(made, device=found_device(made.device))


def _refuse_seeds(option: str, seeds: Iterable[int]) -> None:
    """Raise `UserError` for what is no seed, and for one given twice: two searches would share one trial log."""
    seen: set[int] = set()
    for seed in seeds:
        if checked_seed(seed, option) in seen:
            raise UserError(f"{option}: {seed} is given twice; give different ones")
        seen.add(seed)


def refuse_unknown(option: str, values: Iterable[str], known: Iterable[str]) -> None:
    """Raises `UserError` for the first of `values` that is not among `known`."""
    known = list(known)
    for value in values:
        if value not in known:
            raise UserError(f"{option}: {value!r} is unknown; choose from {', '.join(known)}")


def refuse_less(options: RunOptions, least: float, *names: str) -> None:
    """Raises `UserError` for the first of these options that is given and below `least`."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < least:
            raise UserError(f"{name}: {value}; give at least {least:g}")


def refuse_empty(options: RunOptions, *names: str) -> None:
    """Raises `UserError` for the first of these options that holds nothing."""
    for name in names:
        if not getattr(options, name):
            raise UserError(f"{name}: none given; give at least one")


def given(namespace: Mapping[str, Any], options: type[RunOptions]) -> dict[str, Any]:
    """A notebook's parameters: the options found among its globals, and whatever papermill injected.

    Papermill only warns of a misspelt parameter and runs on with the defaults; passing its names on lets `resolve`
    refuse them.
    """
    known = {f.name for f in fields(options)}
    injected = _injected(namespace.get("In", []))
    return {name: namespace[name] for name in namespace if name in known | injected}


def _injected(cells: list[str]) -> set[str]:
    """Names that papermill's own cell assigns; it begins with a comment of that text."""
    names = set()
    for cell in cells:
        if cell.startswith("# Parameters\n"):
            assignments = [node for node in ast.parse(cell).body if isinstance(node, ast.Assign)]
            names |= {target.id for node in assignments for target in node.targets if isinstance(target, ast.Name)}
    return names
