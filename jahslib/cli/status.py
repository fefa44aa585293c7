"""`python -m jahslib status`: show the progress of searches."""

import math
from collections.abc import Sequence

from jahslib.cli.commands import Parser
from jahslib.search.status import status
from jahslib.search.watch import duration


def main(argv: Sequence[str]) -> None:
    """Print `status`'s table."""
    parser = Parser("python -m jahslib status", description=(status.__doc__ or "").split("\n")[0])
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="any folder with trial logs (default: results/)")
    parser.add_argument("--logs", action="store_true", help="one row per trial log")
    args = parser.parse_args(argv)
    table = status(args.folder, logs=args.logs)
    table["age"] = ["" if math.isnan(age) else duration(age) for age in table["age"]]
    if not args.logs:
        table["run"] = table["run"].map({True: "yes", False: ""})
    shown = {"float_format": "{:,.4g}".format, "formatters": {"epochs": "{:,.0f}".format}}
    print(table.rename(columns={"under_way": "under way", "run": "run?"}).to_string(index=False, na_rep="", **shown))
