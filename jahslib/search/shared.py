"""A check that workers on other machines see a search's folder, and leave logs and checkpoints on no other disk."""

import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jahslib import paths
from jahslib.errors import UserError

TOKEN = ".shared"


@dataclass(frozen=True)
class WhereSeen:
    """A caller of functions, only where the folder holds the token that `marking` left there; else `UserError`."""

    folder: Path
    token: str

    @classmethod
    def marking(cls, folder: Path) -> "WhereSeen":
        """Leave a new token in a folder. Raises `UserError` if it cannot be written."""
        token = f"{socket.gethostname()} {os.getpid()} {time.time_ns()}"
        try:
            paths.write(folder / TOKEN, token)
        except OSError as error:
            raise UserError(f"checkpoints {folder}: cannot be written ({error.strerror}); mend that") from error
        return cls(folder, token)

    def __call__(self, function: Callable, *args: Any, **kwargs: Any) -> Any:
        try:
            seen = (self.folder / TOKEN).read_text()
        except (OSError, ValueError):
            seen = ""
        if seen != self.token:
            raise UserError(
                f"worker on {socket.gethostname()} (pid {os.getpid()}): does not see {self.folder}; "
                "put the search's log into a folder that all machines share, under the same path"
            )
        return function(*args, **kwargs)


def is_elsewhere(executor: Executor) -> bool:
    """Tell whether an executor's workers may be on other machines: all but this library's local executors."""
    return getattr(executor, "threads", None) is None
