"""`python -m jahslib export`: export trial logs to other tools' dashboards."""

from collections.abc import Sequence
from pathlib import Path

from jahslib.cli.commands import Parser, refuse
from jahslib.errors import UserError
from jahslib.reporting.exports import to_deepcave, to_optuna


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Exit code: 0, or 2 with nothing written (one line on stderr).
    """
    parser = Parser("python -m jahslib export", description="Export trial logs to a dashboard.")
    parser.add_argument("logs", nargs="+", type=Path, metavar="LOG", help="trial log, or folder or pack of some")
    parser.add_argument("--to", choices=("deepcave", "optuna"), required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="receives runs, or the journal")
    try:
        args = parser.parse_args(argv)
        if args.to == "deepcave":
            print(*to_deepcave(args.logs, args.out), sep="\n")
        else:
            print(to_optuna(args.logs, args.out))
    except (UserError, OSError) as error:
        return refuse("jahslib export", error)
    return 0
