"""Validation of a trial log's lines: a header, a trial or a search's end, in JSON types."""

import math
from collections.abc import Mapping
from typing import Any, get_args

from jahslib.core.trials import Status

FORMAT = 1
BEGINNING = b'{"kind": "header"'  # of every log
MOST_PENDING = 4096  # trials at once; more indicate damage and would take minutes to process
_REQUIRED = {"id", "configuration", "fidelity", "status", "metrics"}
_MEASURES = ("fidelity", "epochs", "seconds", "elapsed", "started", "finished")
_KINDS = {
    **dict.fromkeys(("configuration", "metrics", "curve", "outputs"), dict),
    **dict.fromkeys(("status", "reason", "worker", "origin"), str),
    "final": bool,
}


def other_format(header: Mapping[str, Any]) -> str:
    """Describe the format of a log that cannot be read here; empty for the supported one."""
    found = header.get("format", FORMAT)
    if type(found) is int and found == FORMAT:
        return ""
    return f"has format {found!r}, this version of jahslib reads {FORMAT}"


def is_line(record: Mapping[str, Any], number: int, before: int) -> bool:
    """Tell whether a record can be line `number`, with at most `before` trials before it."""
    match record.get("kind"):
        case "header":
            made = record.get("fingerprint")
            described = isinstance(made, dict) and [made.get(part, {}) for part in ("problem", "optimizer")]
            return number == 1 and bool(described) and all(isinstance(part, dict) for part in described)
        case "trial":
            return number > 1 and _is_trial(record, before)
        case "end":
            return number > 1 and isinstance(record.get("budget"), dict) and isinstance(record.get("reason"), str)
    return False


def _is_trial(record: Mapping[str, Any], before: int) -> bool:
    """Tell whether a line's fields have the types and ranges that readers rely on."""
    if not (_REQUIRED <= set(record) and _is_count(record["id"])):
        return False
    number, asked, parent = record["id"], record.get("asked", record["id"] + 1), record.get("parent")
    if not (_is_count(asked) and number < asked <= before + MOST_PENDING):
        return False
    if not (parent is None or (_is_count(parent) and parent < number)):
        return False
    measures = [record.get(name, 0) for name in _MEASURES]
    if not all(_is_number(value) and not isinstance(value, bool) and value >= 0 for value in measures):
        return False
    if not all(isinstance(record.get(name, kind()), kind) for name, kind in _KINDS.items()):
        return False
    metrics = record["metrics"].values()  # null stands for a non-finite number
    return record["status"] in get_args(Status) and all(v is None or _is_number(v) for v in metrics)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < math.inf


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
