"""The originals' reported numbers, to be shown beside ours; reported.json holds them in tidy form."""

import json
from pathlib import Path
from typing import Any

from jahslib.errors import refuse_unknown

FILE = Path(__file__).with_name("reported.json")


def load(notebook: str) -> dict[str, Any]:
    """Read the reported numbers of one study, such as "07_constrained_EA"; `about` says what each key holds.

    Most keys are lists of rows for `pandas.DataFrame`. Raises `UserError` where nothing is stored.
    """
    studies = json.loads(FILE.read_text(encoding="utf-8"))
    refuse_unknown("reported numbers: study", [notebook], studies)
    return studies[notebook]
