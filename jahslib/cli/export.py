"""`python -m jahslib export`: export trial logs to other tools' dashboards."""

from collections.abc import Sequence
from pathlib import Path

from jahslib.cli.commands import Parser
from jahslib.reporting.exports import to_deepcave, to_optuna


def main(argv: Sequence[str]) -> None:
    """Write the export and print where it is; where a log is refused, nothing is written."""
    parser = Parser("python -m jahslib export", description="Export trial logs to a dashboard.")
    parser.add_argument("logs", nargs="+", type=Path, metavar="LOG", help="a trial log, or a folder or pack of them")
    parser.add_argument("--to", choices=("deepcave", "optuna"), required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="receives the runs, or the journal")
    args = parser.parse_args(argv)
    written = to_deepcave(args.logs, args.out) if args.to == "deepcave" else [to_optuna(args.logs, args.out)]
    print(*written, sep="\n")
