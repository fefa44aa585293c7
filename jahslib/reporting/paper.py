"""paper.pdf from the Typst sources in paper/ and the notebooks' records: offline, the same bytes for the same input.

Typst reads nothing outside its root, so sources and records are copied into one temporary folder.
"""

import json
import logging
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jahslib import paths
from jahslib.analysis import reported
from jahslib.errors import UserError
from jahslib.extras import extra
from jahslib.reporting.report import LEFT_OUT

with extra("paper"):
    import typst

log = logging.getLogger(__name__)

SOURCES = paths.home() / "paper"
PROFILES = ("paper", "cpu", "smoke")  # best first


def profiles(root: Path | None = None) -> dict[str, str]:
    """Choose for each notebook the best profile that it has records in; smoke only where no notebook has more."""
    results = (root or paths.outputs()) / "results"
    found: dict[str, str] = {}
    for profile in PROFILES:
        for index in results.glob(f"{profile}/*/records.json"):
            found.setdefault(index.parent.name, profile)
    if any(profile != "smoke" for profile in found.values()):
        found = {notebook: profile for notebook, profile in found.items() if profile != "smoke"}
    return dict(sorted(found.items()))


def build(root: Path | None = None) -> Path:
    """Compile the paper from the results/ and figs/ in `root` (by default `paths.outputs()`) and return where it lies.

    A study that was run in part (with some of its methods, say) keeps its section if that builds. If not, the paper
    says in its place what the run left out, and so does a warning.

    Raises:
        UserError: no notebook has records, a record or its file is missing from a whole run, or the sources do not
            compile. A paper.pdf that was there before stays as it was.
    """
    root = Path(root or paths.outputs())
    chosen = profiles(root)
    if not chosen:
        raise UserError(f"paper: no records in {root / 'results'}; run a notebook first")
    with staged(root, chosen) as stage:
        pdf = _compile_without_parts(stage, chosen)
    file = root / "paper.pdf"
    paths.write(file, pdf)
    return file


@contextmanager
def staged(root: Path, chosen: dict[str, str]) -> Iterator[Path]:
    """Lay out sources and the records in `root` in a temporary folder; `chosen` is a profile for each notebook."""
    with tempfile.TemporaryDirectory(prefix="jahslib-paper-") as folder:
        stage = Path(folder)
        for source in (*SOURCES.glob("*.typ"), *SOURCES.glob("*.bib"), reported.FILE):
            shutil.copyfile(source, stage / source.name)
        for notebook, profile in chosen.items():
            _stage_records(root, notebook, profile, stage / "records" / notebook)
        (stage / "left_out.json").write_text("[]", encoding="utf-8")
        yield stage


def _stage_records(root: Path, notebook: str, profile: str, target: Path) -> None:
    results, figs = (root / kind / profile / notebook for kind in ("results", "figs"))
    target.mkdir(parents=True)
    shutil.copyfile(results / "records.json", target / "records.json")
    for name, record in _records(results / "records.json").items():
        if "file" in record:
            source = (figs if record["kind"] == "figure" else results) / record["file"]
            if not source.is_file():
                raise UserError(
                    f"paper: {notebook} (profile {profile}): record {name!r} has lost its file {source}; "
                    "run the notebook in this profile again"
                )
            shutil.copyfile(source, target / record["file"])


def _records(index: Path) -> dict[str, dict[str, Any]]:
    try:
        return json.loads(index.read_text(encoding="utf-8"))["records"]
    except (ValueError, KeyError) as error:
        raise UserError(f"paper: {index} is no index of records; run its notebook again") from error


def _compile_without_parts(stage: Path, chosen: dict[str, str]) -> bytes:
    """Leave out the studies run in part that stop the build: those that its message names, or else all of them."""
    indices = {notebook: _records(stage / "records" / notebook / "records.json") for notebook in chosen}
    parts = {notebook: index[LEFT_OUT]["value"] for notebook, index in indices.items() if LEFT_OUT in index}
    missing: dict[str, str] = {}
    while True:
        rows = [{"key": n[:2], "profile": chosen[n], "left_out": missing[n]} for n in sorted(missing)]
        (stage / "left_out.json").write_text(json.dumps(rows), encoding="utf-8")
        try:
            pdf = _compile(stage, {n: profile for n, profile in chosen.items() if n not in missing})
        except UserError as error:
            rest = {n: text for n, text in parts.items() if n not in missing}
            named = {n: text for n, text in rest.items() if n in str(error)}
            if not rest:
                raise
            missing |= named or rest
            continue
        for notebook, text in missing.items():
            log.warning(
                "paper: built without %s (profile %s), which was run without %s; run it whole for its section",
                *(notebook, chosen[notebook], text),
            )
        return pdf


def _compile(stage: Path, chosen: dict[str, str]) -> bytes:
    try:
        pdf, warnings = typst.compile_with_warnings(
            stage / "main.typ", root=stage, ignore_system_fonts=True, sys_inputs=chosen
        )
    except typst.TypstError as error:
        raise UserError(f"paper: {_one_line(error)}") from error
    for warning in warnings:
        log.warning("paper: %s", warning.message)
    return pdf


def _one_line(error: typst.TypstError) -> str:
    """Say what is wrong and where: the sources' own checks do, other errors get the source file and line."""
    asserted = "assertion failed: "
    message = " ".join(str(error.message).split())
    if message.startswith(asserted):
        return message.removeprefix(asserted)
    place = re.search(r"([\w-]+\.(?:typ|bib)):(\d+)", error.diagnostic)
    return f"{place[1]}, line {place[2]}: {message}" if place else message


if __name__ == "__main__":
    try:
        print(build())
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
