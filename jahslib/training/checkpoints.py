"""Checkpoints of tensors, numbers and text: written atomically, loaded without running code.

A file is what `torch.save` writes, and `torch.load` reads it; its ZIP comment holds a digest of everything before it.
"""

import hashlib
import io
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from jahslib import paths
from jahslib.errors import UserError

Generators = Mapping[str, torch.Generator]

_UNFIT = (RuntimeError, LookupError, TypeError, ValueError, AttributeError)  # errors from loading other contents
_MARK = b"jahslib sha256 "  # start of the ZIP comment, before the digest's 64 bytes
_BARE_END = b"PK\5\6"  # start of the last 22 bytes of a ZIP archive without a comment


def write(path: str | os.PathLike, device: torch.device, generators: Generators, **state: Any) -> None:
    """Write `state`, the generators' states and the kind of device, to which these are tied.

    Raises `UserError` where the file cannot be written: the training is not to blame, so no trial may count as failed.
    """
    random = {name: generator.get_state() for name, generator in generators.items()}
    content = io.BytesIO()
    torch.save({**state, "generators": random, "device": device.type}, content)
    try:
        paths.write(Path(path), _signed(content.getvalue()))
    except OSError as error:
        raise UserError(
            f"checkpoint {os.fspath(path)}: cannot be written ({error.strerror}); mend that and run again to resume"
        ) from error


def read(path: str | os.PathLike, device: torch.device | None = None, *, again: str = "train again") -> dict[str, Any]:
    """Read a checkpoint, its tensors on the CPU.

    Args:
        device: reject a checkpoint from another kind of device; None where no generator state is used.
        again: remedy that the message gives where the file cannot be read.

    Raises:
        UserError: a missing or damaged file, one that `write` did not write, or one from another kind of device.
    """
    unreadable = f"{path} is not a readable checkpoint: remove it and {again}"
    try:
        content = Path(path).read_bytes() if Path(path).is_file() else b""  # reading a pipe would block
        if content[-64 - len(_MARK) :] != _MARK + _digest(content[:-64]):
            raise UserError(unreadable)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, OSError, *_UNFIT) as error:
        raise UserError(unreadable) from error
    if device is not None and state["device"] != device.type:
        raise UserError(f"{path} was saved on {state['device']}: restore it there, not on {device.type}")
    return state


@contextmanager
def applied(path: str | os.PathLike, *, again: str = "restore it with the configuration it had") -> Iterator[None]:
    """Convert errors of contents that do not fit into `UserError`, whose remedy is `again`."""
    try:
        yield
    except UserError:
        raise
    except _UNFIT as error:
        raise UserError(f"{path} holds the state of something else: {again}") from error


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Load an optimizer's state. Raises `ValueError` for one of another kind, which torch itself accepts."""
    for own, other in zip(optimizer.state_dict()["param_groups"], saved["param_groups"], strict=True):
        if own.keys() - other.keys() and other.keys() - own.keys():  # new versions of torch only add options
            raise ValueError("the options are those of another optimizer")
    optimizer.load_state_dict(dict(saved))


def _signed(archive: bytes) -> bytes:
    """Append a SHA-256 digest to a ZIP archive as its comment."""
    if archive[-22:-18] != _BARE_END:
        raise RuntimeError("torch.save wrote something else than a ZIP archive without a comment")
    body = archive[:-2] + (len(_MARK) + 64).to_bytes(2, "little") + _MARK
    return body + _digest(body)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def restore(generators: Generators, state: Mapping[str, Any]) -> None:
    """Set every generator to its state when `state` was written."""
    for name, generator in generators.items():
        generator.set_state(state["generators"][name])
