"""README.md says what is so: its numbers are the records', its commands are taken, its examples run, its links lead on.

So do the pages in docs/, as far as they have such things.
"""

import csv
import pkgutil
import re
import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from jahslib.cli import runner
from jahslib.paths import ROOT
from jahslib.reporting import trials_table

README = (ROOT / "README.md").read_text()
PAGES = [
    *sorted(ROOT.glob("*.md")),
    ROOT / "data" / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("benchmarks/*.md")),
]

# The claim in each study's row of README, by the words of its table of claims.
CLAIMS = {
    "01_growing_bohb": "Growing networks test better than static ones",
    "02_growing_thresholds": "The growing incumbent tests better than the baseline",
    "03_grammar_search": "BO, WL has a lower test error than evolution, on the table: cifar10",
    "04_surrogate_regression": "The hierarchical kernel ranks better, from 10 architectures",
    "05_darts_bohb": "BOHB after DARTS tests better than BOHB over uniform cells",
    "06_ax_bo": "Ax finds settings that test better than random",
    "07_constrained_EA": "EA-HB tests better than RS",
    "08_head_to_head": "EA-HB has a lower regret than DEHB",
}


# Numbers --------------------------------------------------------------------------------------------------------------


def table(profile: str, notebook: str, name: str) -> list[dict[str, str]]:
    with (ROOT / "results" / profile / notebook / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def signed(number: str) -> str:
    return f"{float(number):+.3f}".replace("-", "\N{MINUS SIGN}") if number else "–"


def rows() -> dict[str, list[str]]:
    """The cells of each study's row."""
    found = re.findall(r"^\| (\*\*\[\d\d [^]]*\]\(docs/studies/(\w+)\.md\).*) \|$", README, re.M)
    return {name: line.split(" | ") for line, name in found}


def numbers(text: str) -> list[str]:
    """Numbers. Code, targets of links and names (CIFAR-10, study 03) hold none."""
    prose = re.sub(r"`[^`]*`|\[\d\d(?= )|\]\([^)]*\)|[Ss]tud(?:y|ies) \d\d", " ", text)
    return re.findall(r"(?<![\w.,-])\d+(?:,\d{3})*(?:\.\d+)?", prose)


def captions() -> dict[str, str]:
    figure = r'^(?:!\[[^]]*\]\(([^)]+)\)|<img src="([^"]+)"[^>]*>)\n\n\*([^*]+)\*$'
    return {markdown or html: caption for markdown, html, caption in re.findall(figure, README, re.M)}


def test_every_notebook_has_a_row_in_order():
    assert list(rows()) == list(CLAIMS) == sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))


@pytest.mark.parametrize("notebook", CLAIMS)
def test_a_row_is_its_claim_as_recorded(notebook):
    (found,) = (row for row in table("cpu", notebook, "claims") if row["claim"] == CLAIMS[notebook])
    *words, reported, here, n, answer, _ = rows()[notebook]
    interval = f"{signed(found['difference'])} [{signed(found['low'])}, {signed(found['high'])}]"
    assert [reported, here, n, answer] == [signed(found["reported"]), interval, found["n"], found["answer"]]
    assert numbers(" ".join(words)) == []


def test_the_hours_of_a_row_are_those_of_its_trials():
    trials = trials_table.load(ROOT / "results" / "trials.csv.xz").query("profile == 'cpu'")
    hours = trials.groupby("study").seconds.sum() / 3600
    assert {name: row[-1] for name, row in rows().items()} == {name: f"{hours[name]:.1f}" for name in CLAIMS}


def test_no_other_number_stands_in_what_came_out():
    said = README[README.index("What else came out") : README.index("## Exploring")]
    assert numbers(re.sub(r"\*\*[\d, ]+\*\*|^- .*?:", " ", said, flags=re.M)) == []


def test_every_figure_has_a_caption_without_numbers():
    shown = re.findall(r'!\[[^]]*\]\(([^)]+)\)|<img src="([^"]+)"', README)
    assert sorted("".join(pair) for pair in shown) == sorted(captions()) != []
    assert numbers(" ".join(captions().values())) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("| [01 A study](docs/01_x.md) a | of ten, 0.914 (n = 3) |", ["0.914", "3"]),
        (
            "top-3 on CIFAR-10, ImageNet16-120 and NAS-Bench-201 at `q = 0.8`: 1,012,899, 12 %",
            ["1,012,899", "12"],
        ),
        ("[0.5](a/b12.md) of 0.25.", ["0.5", "0.25"]),
    ],
)
def test_what_counts_as_a_number(text, found):
    assert numbers(text) == found


# Commands, examples, links --------------------------------------------------------------------------------------------


def commands() -> list[str]:
    text = README + (ROOT / "docs" / "running.md").read_text()
    found = re.findall(r"(?<=`)\./run_all\.sh[^`\n]*|^\./run_all\.sh.*$", text, re.M)
    return sorted({shlex.join(shlex.split(command, comments=True)) for command in found})


@pytest.mark.parametrize("command", commands())
def test_the_runner_takes_every_command(command):
    for placeholder, example in (("HOST", "node1"), ("NN", "01"), ("N", "2")):
        command = re.sub(rf"\b{placeholder}\b", example, command)
    argv = [sys.executable if word.startswith("$(") else word for word in shlex.split(command)[1:]]
    if argv == ["--help"]:
        with pytest.raises(SystemExit) as end:
            runner.options(argv, ROOT / "notebooks")
        assert end.value.code == 0
    else:
        assert runner.options(argv, ROOT / "notebooks").selected


def test_the_options_named_are_there(capsys):
    with pytest.raises(SystemExit):
        runner.options(["--help"], ROOT / "notebooks")
    there = set(re.findall(r"--[a-z]+", capsys.readouterr().out))
    (line,) = re.findall(r"run_all\.sh --help +# (.*)", README)
    assert set(re.findall(r"--[a-z]+", line)) <= there


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_module_named_is_there(page):
    for name in re.findall(r"(?:-m |`)(jahslib(?:\.[a-z]\w*)*)", page.read_text()):
        pkgutil.resolve_name(name)


EXAMPLES = re.findall(r"```python\n(.*?)```", README + (ROOT / "docs" / "library.md").read_text(), flags=re.DOTALL)


@pytest.mark.parametrize(("example", "log"), list(zip(EXAMPLES, ["quadratic", "mine"], strict=True)))
def test_an_example_runs_and_its_second_run_reads_the_log(example, log, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    exec(example, namespace)
    first = capsys.readouterr().out
    assert "best feasible is trial" in first and namespace["history"].trials[-1].epochs > 0
    before = (tmp_path / f"{log}.jsonl").read_bytes()
    exec(example, {})
    assert capsys.readouterr().out == first
    assert (tmp_path / f"{log}.jsonl").read_bytes() == before


def links(page: Path) -> list[str]:
    """Relative targets of a page's links and pictures."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r'\]\(([^)\s]+)\)|<img src="([^"]+)"', text)
    return sorted({target for pair in found for target in pair if target and not urlsplit(target).scheme})


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("page", "target"), [(page, t) for page in PAGES for t in links(page)], ids=lambda p: str(p).rpartition("/")[2]
)
def test_links_lead_somewhere(page, target):
    path, _, anchor = target.partition("#")
    found = page.parent / path if path else page
    assert found.exists()
    assert not anchor or anchor in anchors(found)
