"""`python -m jahslib compress`: compress the trial logs of finished searches.

All readers of logs accept the compressed forms: `.jsonl.gz`, and with --pack one `.jsonl.xz` of many logs.
"""

import logging
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from jahslib import paths
from jahslib.cli.commands import Parser
from jahslib.errors import UserError
from jahslib.search import logfiles
from jahslib.search.watch import FOREIGN, Watch

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    """Compress the logs, and print how many and how small they are now."""
    parser = Parser("python -m jahslib compress", description="Compress the trial logs of finished searches.")
    parser.add_argument(
        "folder", nargs="?", type=Path, metavar="FOLDER", help="any folder with trial logs (default: results/)"
    )
    parser.add_argument(
        "--logs", default="*", metavar="PATTERN", help="only logs of such names, as '*-seed0' (default: all)"
    )
    parser.add_argument("--pack", metavar="NAME", help="put the logs of each folder into one file, NAME.jsonl.xz")
    options = parser.parse_args(argv)
    folder = (options.folder or paths.outputs() / "results").resolve()
    if "/" in f"{options.logs}{options.pack}" or options.pack == "" or f"{options.pack}".startswith("."):
        raise UserError(f"--logs {options.logs} --pack {options.pack}: give a name without a folder or a leading dot")
    logs = logfiles.found(folder, f"**/{options.logs}")
    if not logs:
        raise UserError(f"{folder}: no such trial log in it; name a folder that has some, such as results/cpu")
    before = _size(logs)
    made, trouble = 0, None
    for where, own in groupby(logs, key=lambda log: log.parent):
        finished = [log for log in own if _finished(log)]
        try:
            if options.pack:
                made += logfiles.pack(finished, where / f"{options.pack}{logfiles.PACK}")
            else:
                made += sum(map(logfiles.compress, finished))
        except UserError as error:  # beside a damaged pack, say; the other folders have nothing to do with it
            trouble = trouble or error
    now = _size(logs)
    plain = sum(logfiles.form(log) == log for log in logs)
    left = f"; {plain} stay as they are: not finished, in use or damaged" if plain else ""
    print(f"{made} of {len(logs)} trial logs compressed, {before / 1e6:.2f} MB before, {now / 1e6:.2f} MB now{left}")
    if trouble:
        raise trouble


def _size(logs: Sequence[Path]) -> int:
    files = {logfiles.form(log) for log in logs}
    return sum(file.stat().st_size for file in files if file.exists())  # not of a link to what is gone


def _finished(log: Path) -> bool:
    watch = Watch(log).look()
    if watch.trouble not in ("", FOREIGN):
        logger.warning("trial log %s: %s", log, watch.trouble)
    return watch.end is not None and not watch.trouble
