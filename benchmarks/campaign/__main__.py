"""The command line of the campaign: see `benchmarks.campaign`."""

import contextlib
import logging
import os
import sys
from pathlib import Path

from jahslib.cli.commands import Parser, refuse
from jahslib.errors import UserError


def _lowest_priority() -> None:
    os.nice(19)
    # Where Linux schedules terminal sessions as groups, niceness counts within one's own group only.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("19")


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 all done, 1 a search was left out, 2 wrong options, 130 Ctrl-C."""
    parser = Parser(
        "python -m benchmarks.campaign", description="Run the searches that take hours, or go on with them."
    )
    parser.add_argument("--list", action="store_true", help="show what is done and what is left, and stop")
    parser.add_argument("--only", choices=("02", "07", "01"), help="the searches of one study")
    try:
        args = parser.parse_args(argv)
        for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[threads] = "1"  # before torch and NumPy are imported, which read it then
        from benchmarks.campaign import entries, running

        listed = entries.campaign(args.only)
        if args.list:
            running.show(listed)
            return 0
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        _lowest_priority()
        return int(running.run_on(listed) > 0)
    except UserError as error:
        return refuse("campaign", error)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
