"""Provenance of results: commit, package versions, device."""

import contextlib
import functools
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jahslib.extras import extra
from jahslib.paths import ROOT, is_checkout

PACKAGES = ("jahslib", "torch", "smac", "ConfigSpace", "ax-platform", "botorch", "gpytorch", "numpy")


def environment(device: str, threads: int | None = None) -> dict[str, Any]:
    """Collect commit, package versions and device for a log's header; `threads` are those that torch trains with."""
    return {"commit": commit(), "versions": versions(), "device": device_name(device, threads)}


@functools.cache
def commit() -> str:
    """Return the checkout's commit (an archive names its own), with `+` when library or notebooks differ from it.

    Empty elsewhere: a repository that merely contains an installed wheel does not identify this code.
    """
    if not is_checkout(ROOT):
        return ""
    with contextlib.suppress(OSError):
        archived = (ROOT / ".git_archival.txt").read_text(encoding="utf-8").strip()
        if not archived.startswith("$"):  # what git replaces in an archive
            return archived[:12]
    try:
        if not Path(_git("rev-parse", "--show-toplevel")).samefile(ROOT):
            return ""
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--", "jahslib", "notebooks") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    # GIT_DIR and its like, which git sets for its hooks, name another repository
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    command = ["git", "-C", str(ROOT), *arguments]
    return os.fsdecode(subprocess.run(command, env=env, capture_output=True, check=True).stdout).strip()


@functools.cache
def versions() -> dict[str, str]:
    """Collect the versions of Python and of those of `PACKAGES` that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def device_name(device: str, threads: int | None = None) -> str:
    """Describe a torch device: the GPU's name, or the CPU with torch's number of threads."""
    if device.startswith("cuda"):
        with extra("training"):
            import torch

        return torch.cuda.get_device_name(device)
    if threads is None:
        torch = sys.modules.get("torch")  # not imported for a problem that does not use it
        threads = torch.get_num_threads() if torch else int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    return f"cpu ({threads} threads)"
