"""A study's options: defaults by profile, each of which a notebook parameter may override."""

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from jahslib.errors import UserError

PROFILES = ("smoke", "cpu", "paper")
Options = TypeVar("Options")


def resolve(options: type[Options], defaults: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> Options:
    """Options of the profile named in `given["profile"]`, overridden by whatever else in `given` is not None.

    Raises:
        UserError: an unknown profile or option.
    """
    profile = given["profile"]
    if profile not in PROFILES:
        raise UserError(f"profile: {profile!r} is unknown; choose one of {', '.join(PROFILES)}")
    known = {f.name for f in fields(options)}  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(known))}"
            raise UserError(f"parameter {name!r} is unknown{hint}")
    chosen = {k: v for k, v in given.items() if v is not None}
    return options(**{**defaults[profile], **chosen})
