"""A check that workers on other machines see a search's folder, and leave logs and checkpoints on no other disk."""

import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from jahslib import paths
from jahslib.errors import UserError

TOKEN = ".shared"
LOST = "executor: lost its scheduler, or was shut down; run again to resume"  # Dask's client then cancels what it has
_OWN = f"{socket.gethostname()} {os.getpid()} {time.time_ns()}"  # this process's, which no other disk holds


def submit(executor: Executor, folder: Path | None, function: Callable, *args: Any, **kwargs: Any) -> Future:
    """Submit a call that needs `folder` (None: none); where the worker does not see it, the call raises `UserError`.

    Raises:
        UserError: the folder, by whose token a worker on another machine recognises it, cannot be written.
    """
    if folder is None or not is_elsewhere(executor):
        return executor.submit(function, *args, **kwargs)
    if _token(folder) != _OWN:
        try:
            paths.write(folder / TOKEN, _OWN)
        except OSError as error:
            raise UserError(f"checkpoints {folder}: cannot be written ({error.strerror}); mend that") from error
    return executor.submit(_where_seen, folder, _OWN, function, *args, **kwargs)


def _where_seen(folder: Path, token: str, function: Callable, *args: Any, **kwargs: Any) -> Any:
    if _token(folder) != token:
        raise UserError(
            f"worker on {socket.gethostname()} (pid {os.getpid()}): does not see {folder}; "
            "put the search's log into a folder that all machines share, under the same path"
        )
    return function(*args, **kwargs)


def _token(folder: Path) -> str:
    try:
        return (folder / TOKEN).read_text()
    except (OSError, ValueError):
        return ""


def is_elsewhere(executor: Executor) -> bool:
    """Tell whether an executor's workers may be on other machines: all but this library's local executors."""
    return getattr(executor, "threads", None) is None
