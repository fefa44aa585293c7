"""`python -m jahslib table`: write all trials of the committed logs as one table."""

from pathlib import Path

from jahslib import paths
from jahslib.cli.commands import Parser, refuse
from jahslib.errors import UserError
from jahslib.reporting.trials_table import FILE, table, write


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Exit code: 0 written, 2 nothing written (one line on stderr says why).
    """
    parser = Parser("python -m jahslib table", description="Write all trials as one table.")
    parser.add_argument("results", nargs="?", type=Path, metavar="RESULTS", help="folder that holds cpu and paper")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"default: {FILE} in RESULTS")
    try:
        args = parser.parse_args(argv)
        trials = table(args.results)
        file = write(trials, args.out or (args.results or paths.outputs() / "results") / FILE)
    except (UserError, OSError) as error:
        return refuse("jahslib table", error)
    print(f"{len(trials):,} trials of {trials.groupby(['profile', 'study', 'log']).ngroups} logs,", end=" ")
    print(f"{file.stat().st_size / 1e6:.2f} MB: {file}")
    return 0
