"""Settings from a cfg file and from a list of keys and values, below named parameters.

Precedence: a profile's values < the cfg file (YAML) < `set` < the notebook's parameters. Keys are names of settings, in
either case, or the names that the original gave them; a dot reaches into a mapping (`bounds.lr`), or belongs to the
original's name (`TRAIN.LR`, in a file also as a mapping `TRAIN: {LR: ...}`).

None means "not given" at every layer. The text "none" means None itself, for each setting that may be None.
"""

import ast
import difflib
import logging
import math
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from jahslib.errors import UserError
from jahslib.extras import extra

log = logging.getLogger(__name__)

Given = TypeVar("Given")


@dataclass(frozen=True)
class Layers:
    """A cfg file and a list of keys and values; the list has precedence.

    Args:
        cfg: a YAML file, a mapping of keys to values.
        set: "KEY VALUE KEY VALUE ...", the same as a list, or a mapping.
        aliases: the original's keys, in lower case -> names of settings; None for one that has no effect here, which is
            reported by a warning.
    """

    cfg: str | Path | None = None
    set: str | Sequence[Any] | Mapping[str, Any] | None = None
    aliases: Mapping[str, str | None] = field(default_factory=dict)

    def read(self, types: Mapping[str, Any], check: Callable[[str, Any, str], Any]) -> dict[str, Any]:
        """Read the values that they give, by setting.

        Args:
            types: of the existing settings.
            check: converts what is given to a setting's value, called with its name, that, and the place of the value.

        Raises:
            UserError: no such file or mapping, an unknown key, or what `check` raises.
        """
        found: dict[str, Any] = {}
        for place, pairs in ((f"cfg {self.cfg}", _read(file(self.cfg))), ("set", _pairs(file(self.set)))):
            for key, value in _flat(pairs, self.aliases):
                if self.aliases.get(str(key).lower(), key) is None:
                    log.warning("%s: %s changes nothing here", place, key)
                    continue
                name, *inner = _field(key, types, self.aliases, place).split(".", 1)
                if inner:
                    value = {**found.get(name, {}), inner[0]: value}
                if value is not None:
                    found[name] = check(name, value, f"{place}: {key}")
        return found


def _read(file: str | Path | None) -> Iterator[tuple[str, Any]]:
    if file is None:
        return
    with extra("notebooks"):
        import yaml

    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cfg {file}: no such file; give the path of a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"cfg {file}: is not YAML ({' '.join(str(error).split())[:120]})") from error
    if not isinstance(content, dict | None):
        said = f"{content!r} ({type(content).__name__})"
        raise UserError(f"cfg {file}: holds {said}; give a mapping of keys to values, such as 'lr: 0.01'")
    yield from (content or {}).items()


def _pairs(given: str | Sequence[Any] | Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    if given is None:
        return []
    if isinstance(given, Mapping):
        return list(given.items())
    words = shlex.split(given) if isinstance(given, str) else list(given)
    if len(words) % 2:
        raise UserError(f"set: {words[-1]!r} has no value; give KEY VALUE KEY VALUE ...")
    return [(key, _literal(value)) for key, value in zip(words[::2], words[1::2], strict=True)]


def _literal(value: Any) -> Any:
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError):
        return value  # a word, such as a data set's name


def _flat(pairs: Iterable[tuple[Any, Any]], aliases: Mapping[str, str | None]) -> Iterator[tuple[Any, Any]]:
    for key, value in pairs:
        if isinstance(value, Mapping) and any(alias.startswith(f"{key}.".lower()) for alias in aliases):
            yield from ((f"{key}.{inner}", own) for inner, own in value.items())
        else:
            yield key, value


def _field(key: Any, hints: Mapping[str, Any], aliases: Mapping[str, str | None], place: str) -> str:
    whole = str(key).lower()
    name, *inner = [found] if (found := aliases.get(whole)) else whole.split(".", 1)
    name = aliases.get(name) or name
    if name not in hints or (inner and get_origin(hints[name]) is not dict):
        near = difflib.get_close_matches(whole, [*hints, *aliases], 1) or difflib.get_close_matches(name, hints, 1)
        hint = f"did you mean {near[0]!r}?" if near and near[0] != name else f"known: {', '.join(sorted(hints))}"
        raise UserError(f"{place}: unknown key {key!r}; {hint}")
    return ".".join([name, *inner])


def says_none(value: Any, hint: Any) -> bool:
    """Tell whether `value` is the text "none" for an option that may be None."""
    return isinstance(value, str) and value.lower() == "none" and type(None) in get_args(hint)


def file(value: Given) -> Given | None:
    """Return the value of a parameter such as `cfg`, None for the text "none"."""
    return None if says_none(value, str | None) else value


def finite(value: Any) -> bool:
    """Tell whether a value contains no infinite number or NaN."""
    if isinstance(value, Mapping):
        return all(map(finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(finite, value))
    return not isinstance(value, float) or math.isfinite(value)
