"""`python -m jahslib data`: list the data sets, or fetch and verify one."""

from collections.abc import Sequence

from jahslib.cli.commands import Parser
from jahslib.data.registry import ENTRIES, load, splits


def main(arguments: Sequence[str]) -> None:
    """Run `list`, or `fetch NAME`."""
    parser = Parser("python -m jahslib data", description="List the data sets, or fetch and check one.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every data set, its splits and where it comes from")
    commands.add_parser("fetch", help="find or download a data set and check it").add_argument("name")
    options = parser.parse_args(arguments)
    if options.command == "list":
        for name, entry in ENTRIES.items():
            print(f"{name:23}{', '.join(entry.splits):18}{entry.origin}")
        return
    for split in splits(options.name):
        got = load(options.name, split)
        shape = "x".join(map(str, got.images.shape[1:]))
        print(f"{got.name} {split}: {len(got.images)} images of {shape}, {got.classes} classes, {got.source}")
