"""The command line: `python -m jahslib COMMAND`, or `jahslib COMMAND` where it is installed.

Standard library only, and a command's module is imported when it is called: run_all.sh checks its options with `run`
before anything is installed.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from jahslib.cli.commands import refuse
from jahslib.errors import UserError

COMMANDS = {  # name -> module of `jahslib.cli`, and what it does
    "run": ("runner", "run the notebooks headless and build paper.pdf"),
    "status": ("status", "show the progress of the searches below a folder"),
    "data": ("data", "list the data sets, or fetch and check one"),
    "table": ("table", "write the trials of all logs as one table"),
    "compress": ("compress", "compress the trial logs of finished searches"),
    "export": ("export", "export trial logs to DeepCAVE or Optuna"),
    "final": ("final_training", "run study 06's final training, or test one"),
    "replay": ("replay", "check that this machine repeats the decisions in the logs"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: its own or 0; 2, with one line, for what only the user can mend."""
    name, *rest = [*(sys.argv[1:] if argv is None else argv)] or ["--help"]
    if name in ("-h", "--help"):
        print("usage: python -m jahslib COMMAND ...; each has --help\n")
        print(*(f"  {command:10}{about}" for command, (_, about) in COMMANDS.items()), sep="\n")
        return 0
    if name not in COMMANDS:
        return refuse("jahslib", UserError(f"no command {name!r}; choose from {', '.join(COMMANDS)}"))
    try:
        return import_module(f"jahslib.cli.{COMMANDS[name][0]}").main(rest) or 0
    except (UserError, OSError) as error:
        return refuse(f"jahslib {name}", error)


if __name__ == "__main__":
    sys.exit(main())
