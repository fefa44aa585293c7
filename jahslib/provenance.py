"""Where a result came from: commit, package versions, device."""

import functools
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from jahslib.paths import ROOT

PACKAGES = ("jahslib", "torch", "smac", "ConfigSpace", "ax-platform", "botorch", "gpytorch", "numpy")


@functools.cache
def environment() -> dict[str, Any]:
    return {"commit": commit(), "versions": versions(), "device": device_name("cuda" if torch.cuda.is_available() else "cpu")}


def commit() -> str:
    """The checkout's commit, with `+` when tracked code has uncommitted changes; empty outside a checkout."""
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def device_name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"cpu ({torch.get_num_threads()} threads)"
