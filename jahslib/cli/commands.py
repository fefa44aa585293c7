"""Shared parts of the command lines; standard library only, because set-up runs before anything is installed."""

import argparse
import io
import sys
from typing import Any, NoReturn

from jahslib.errors import UserError


class Parser(argparse.ArgumentParser):
    """An argument parser that raises `UserError` for a wrong option; what a terminal cannot print becomes `?`."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")

    def error(self, message: str) -> NoReturn:
        """Raise argparse's message as a `UserError`, without its first word."""
        raise UserError(message.removeprefix("argument "))


def refuse(command: str, error: UserError | OSError) -> int:
    """Print one line on stderr for invalid input or an unwritable place; returns exit code 2."""
    print(f"{command}:", " ".join(str(error).split()), file=sys.stderr)
    return 2
