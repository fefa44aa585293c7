"""What the package's command lines share; standard library only, because set-up runs before anything is installed."""

import argparse
import io
import sys
from typing import Any, NoReturn

from jahslib.errors import UserError


class Parser(argparse.ArgumentParser):
    """A wrong option is a `UserError`, as any other wrong input is, and does not end the process here.

    Of what a terminal's encoding lacks, the command's output has `?` in place.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")

    def error(self, message: str) -> NoReturn:
        """What argparse says of the option, without the word it begins with."""
        raise UserError(message.removeprefix("argument "))


def refuse(command: str, error: UserError | OSError) -> int:
    """One line on stderr on wrong input or a place that cannot be written, and the exit code 2, which this returns."""
    print(f"{command}:", " ".join(str(error).split()), file=sys.stderr)
    return 2
