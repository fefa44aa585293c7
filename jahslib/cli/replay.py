"""`python -m jahslib replay 07_constrained_EA`: check that logged decisions are reproduced.

Prints one line per trial log: that all decisions were reproduced here, or the first that was not and by how much. A
search resumes from its log whatever this says (see `jahslib.search.replay`).
"""

import time
from collections.abc import Sequence
from typing import Any

from jahslib.cli.commands import Parser
from jahslib.errors import UserError
from jahslib.experiments.notebook import experiment, notebooks
from jahslib.extras import extra
from jahslib.search import logfiles
from jahslib.search.replay import replay

with extra("notebooks"):
    import yaml


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    try:
        if equals:
            return name, yaml.safe_load(value)
    except yaml.YAMLError:
        pass
    raise UserError(f"--with: {text!r} is not of the form NAME=VALUE, the value in YAML")


def main(arguments: Sequence[str]) -> int:
    """Replay each log; returns 1 if any decision differs, else 0."""
    parser = Parser("python -m jahslib replay", description=__doc__)
    parser.add_argument("notebook", help="its name, such as 07_constrained_EA")
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--log", default="*", help="only logs whose name matches, such as 'bohb-seed*'")
    parser.add_argument("--with", dest="given", action="append", default=[], metavar="NAME=VALUE", help="set this")
    replayed = differing = 0
    options = parser.parse_args(arguments)
    if options.notebook not in notebooks():
        here = "run this in a copy of the project, or beside your folder notebooks"
        mend = f"choose from {', '.join(notebooks())}" if notebooks() else here
        raise UserError(f"no notebook {options.notebook!r}; {mend}")
    given = dict(map(_parameter, options.given))
    planned = experiment(options.notebook, {"profile": options.profile, **given}).study.planned
    for run in sorted(planned, key=lambda run: run.log.name):
        if not logfiles.exists(run.log) or not run.log.match(f"{options.log}.jsonl"):
            continue
        run.check()
        since = time.perf_counter()
        report = replay(run.optimizer, run.log)
        replayed += 1
        differing += report.trial is not None
        print(f"{run.log.stem}: {report} ({time.perf_counter() - since:.1f} s)", flush=True)
    if not replayed:
        raise UserError(
            f"no {options.log}.jsonl of a search of {options.notebook} in {options.profile}; give another "
            "--log or --profile, or run the notebook first"
        )
    return int(differing > 0)
