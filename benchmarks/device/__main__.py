"""The command line of a span on a device: see `benchmarks.device`."""

import logging
import sys
import time
from argparse import ArgumentTypeError
from pathlib import Path

from benchmarks.device import BEGUN
from jahslib.cli.commands import Parser, refuse
from jahslib.errors import UserError
from jahslib.paths import ROOT

PARTS = ("checks", "speed", "searches")


def _parts(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := set(chosen) - set(PARTS):
        raise ArgumentTypeError(f"{', '.join(sorted(unknown))} is unknown; choose of {','.join(PARTS)}")
    return chosen


def main(argv: list[str] | None = None, begun: float | None = None) -> int:
    """Exit code: 0, 1 if something failed, 2 wrong options, 130 Ctrl-C. The time counts from `begun`, or the call."""
    parser = Parser("python -m benchmarks.device", description="Check, measure and train on a device lent for minutes.")
    commands = parser.add_subparsers(dest="command", required=True)
    packed = commands.add_parser("pack", help="write the archive to carry in")
    packed.add_argument("archive", type=Path)
    packed.add_argument("--wheels", type=Path, help="folder of the packages' wheels, instead of a download")
    run = commands.add_parser("run", help="check, measure and train on for so many seconds")
    run.add_argument("--device", default="cuda")
    run.add_argument("--seconds", type=float, default=540.0, help="until the end, from this command's start")
    run.add_argument("--out", type=Path, required=True, help="folder for report.md and logs.tar.gz")
    run.add_argument("--parts", type=_parts, default=list(PARTS), help=",".join(PARTS))
    for command in (packed, run):
        command.add_argument("--profile", default="paper", help="of the searches")
    begun = time.monotonic() if begun is None else begun
    try:
        args = parser.parse_args(argv)
        sys.path.append(str(ROOT / "site"))  # what travelled stands in only for what is not installed
        from benchmarks.campaign.entries import on_device
        from benchmarks.device import packing, span
        from jahslib.experiments.settings import found_device

        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        if args.command == "pack":
            logs = span.logs_of(list(on_device("cpu", args.profile)))
            for kind, size in packing.pack(args.archive, logs, wheels=args.wheels).items():
                print(f"{kind:<9} {size / 2**20:6.1f} MiB")
            return 0
        device = found_device(args.device)
        made = span.Span(device, args.seconds, args.out, begun)
        return int(made.run(args.parts, lambda: list(on_device(device, args.profile))) > 0)
    except UserError as error:
        return refuse("device", error)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(begun=BEGUN))
