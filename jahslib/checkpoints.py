"""Checkpoints: tensors, numbers and text in a file, written whole or not at all and loaded without running anything."""

import io
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from jahslib import paths
from jahslib.errors import UserError

Generators = Mapping[str, torch.Generator]


def write(path: str | os.PathLike, device: torch.device, generators: Generators, **state: Any) -> None:
    """Write `state`, the generators' and the kind of device, which generator states are not portable between.

    Raises:
        UserError: the file cannot be written. The training is not to blame, so no trial may count as failed for it.
    """
    random = {name: generator.get_state() for name, generator in generators.items()}
    content = io.BytesIO()
    torch.save({**state, "generators": random, "device": device.type}, content)
    try:
        paths.write(Path(path), content.getvalue())
    except OSError as error:
        raise UserError(
            f"checkpoint {os.fspath(path)}: cannot be written ({error.strerror}); mend that and run again to resume"
        ) from error


def read(path: str | os.PathLike, device: torch.device | None = None, *, again: str = "train again") -> dict[str, Any]:
    """What `write` wrote, its tensors on the CPU.

    Args:
        device: refuse what was written on another kind of device; None where nothing random goes on from it.
        again: what the message advises where the file cannot be read.

    Raises:
        UserError: a missing or damaged file, or one from another kind of device.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError, OSError) as error:
        raise UserError(f"{path} is not a readable checkpoint: remove it and {again}") from error
    if device is not None and state["device"] != device.type:
        raise UserError(f"{path} was saved on {state['device']}: restore it there, not on {device.type}")
    return state


def restore(generators: Generators, state: Mapping[str, Any]) -> None:
    """Set every generator to where it was when `state` was written."""
    for name, generator in generators.items():
        generator.set_state(state["generators"][name])
