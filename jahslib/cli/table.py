"""`python -m jahslib table`: write the trials of the committed logs as one table."""

from collections.abc import Sequence
from pathlib import Path

from jahslib import paths
from jahslib.cli.commands import Parser
from jahslib.reporting.trials_table import FILE, table, write


def main(argv: Sequence[str]) -> None:
    """Write the table, and print how large it is and where."""
    parser = Parser("python -m jahslib table", description="Write all trials as one table.")
    parser.add_argument("results", nargs="?", type=Path, metavar="RESULTS", help="folder that holds cpu and paper")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"default: {FILE} in RESULTS")
    args = parser.parse_args(argv)
    trials = table(args.results)
    file = write(trials, args.out or (args.results or paths.outputs() / "results") / FILE)
    print(f"{len(trials):,} trials of {trials.groupby(['profile', 'study', 'log']).ngroups} logs,", end=" ")
    print(f"{file.stat().st_size / 1e6:.2f} MB: {file}")
