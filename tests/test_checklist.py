"""docs/checklist.md names tests that exist and answers every item; its links are looked after by test_readme.py."""

import ast
import re

import pytest

from jahslib.paths import ROOT
from jahslib.reporting import trials_table

TEXT = (ROOT / "docs" / "checklist.md").read_text()


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`((?:\w+/)*test_\w+\.py::[\w:]+)`", TEXT))))
def test_the_named_test_exists(named):
    file, *names = named.split("::")
    (found,) = (ROOT / "tests").rglob(file)
    body = ast.parse(found.read_text()).body
    for name in names:
        found = [node for node in body if getattr(node, "name", None) == name]
        assert found, f"tests/{file} has no {name}"
        body = getattr(found[0], "body", [])


def test_all_items_are_answered():
    rows = re.findall(r"^\| (\d+\w?) \| [^|]+ \| ([^|]+)\|", TEXT, re.MULTILINE)
    assert [number for number, _ in rows[:14]] == [str(n) for n in range(1, 15)]
    answers = r"\*\*(Yes|Partly|No|Not discussed)\b|Not applicable"
    assert len(rows) == 39 and all(re.match(answers, answer) for _, answer in rows)


def test_the_hours_are_those_of_the_released_trials():
    (hours,) = re.findall(r"took about (\d+) hours of one CPU core", TEXT)
    assert trials_table.load(ROOT / "results" / "trials.csv.xz").seconds.sum() / 3600 == pytest.approx(
        int(hours), abs=0.6
    )
