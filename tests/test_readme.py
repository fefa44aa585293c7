"""README.md says what is so: its numbers are the records', its commands are taken, its examples run, its links lead on.

So do the pages in docs/, as far as they have such things.
"""

import csv
import json
import pkgutil
import re
import shlex
import sys
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from jahslib.analysis import reported
from jahslib.cli import runner
from jahslib.paths import ROOT

README = (ROOT / "README.md").read_text()
PAGES = [
    *sorted(ROOT.glob("*.md")),
    ROOT / "data" / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("benchmarks/*.md")),
]

# The sources of all numbers in a study's row, in their order; () while the study has no cpu results. A source is
# PROFILE/NOTEBOOK/RECORD, or of a table RECORD?COLUMN=VALUE#COLUMN; with "reported" for the profile it is a key of
# reported.json. A mean stands with its deviation. What stands after a bar is a format, where it is not .3f.
HEADLINES = {
    "01_growing_bohb": (
        "reported/02_growing_thresholds/test?type=BOHB growing#accuracy|.3f",
        "reported/02_growing_thresholds/test?type=BOHB static#accuracy|.3f",
        "cpu/01_growing_bohb/bohb_test_top1",
        "cpu/01_growing_bohb/static_test_top1",
        "cpu/01_growing_bohb/n_seeds",
    ),
    "02_growing_thresholds": (
        "reported/02_growing_thresholds/sweep?type=threshold&q=0.8#accuracy|.3f",
        "cpu/02_growing_thresholds/full_q80_accuracy",
        "cpu/02_growing_thresholds/full_folds",
    ),
    "03_grammar_search": (
        "cpu/03_grammar_search/table_methods?task=cifar10&method=BO, WL#test_error|.2f",
        "cpu/03_grammar_search/table_methods?task=cifar10&method=evolution#test_error|.2f",
        "cpu/03_grammar_search/table_methods?task=cifar10&method=random#test_error|.2f",
        "cpu/03_grammar_search/n_table_seeds",
    ),
    "04_surrogate_regression": (
        "cpu/04_surrogate_regression/n_smallest",
        "cpu/04_surrogate_regression/scores_main?source=nb201_addNIST-hierarchical&n_train=10&model=hWL#kendall",
        "cpu/04_surrogate_regression/scores_main?source=nb201_addNIST-hierarchical&n_train=10&model=WL#kendall",
        "cpu/04_surrogate_regression/n_splits",
    ),
    "05_darts_bohb": (
        "cpu/05_darts_bohb/methods?method=DARTS, BOHB#test_acc",
        "cpu/05_darts_bohb/methods?method=uniform cells#test_acc",
        "cpu/05_darts_bohb/ablation?cells=uniform, no search#test_acc",
        "cpu/05_darts_bohb/n_seeds",
    ),
    "06_ax_bo": (
        "cpu/06_ax_bo/ax_test_top1",
        "cpu/06_ax_bo/rs_test_top1",
        "cpu/06_ax_bo/smac_test_top1",
        "cpu/06_ax_bo/n_seeds",
    ),
    "07_constrained_EA": (
        "cpu/07_constrained_EA/retrained?configuration=row 1#test_top3",
        "cpu/07_constrained_EA/retrained?configuration=row 1#n",
        "reported/07_constrained_EA/reruns?configuration=row1&by=reported#test_top3|.3f",
        "reported/07_constrained_EA/test?method=EA-HB#test_top3|.3f",
        "reported/07_constrained_EA/test?method=RS#test_top3|.3f",
        "cpu/07_constrained_EA/ea_hb_test_top3",
        "cpu/07_constrained_EA/rs_test_top3",
        "cpu/07_constrained_EA/n_seeds",
    ),
    "08_head_to_head": (
        *(
            f"cpu/08_head_to_head/standings?family=lcbench&method={method}#score|.3f"
            for method in ("bohb", "ea_hb", "optuna_tpe", "dehb", "rs")
        ),
        "cpu/08_head_to_head/standings?family=lcbench&method=rs#n",
    ),
}

# The same for the caption below each figure.
CAPTIONS = {
    "figs/cpu/02_growing_thresholds/accuracy_params.png": ("cpu/02_growing_thresholds/folds",),
    "figs/cpu/03_grammar_search/anytime_test.png": ("cpu/03_grammar_search/n_table_seeds",),
    "figs/cpu/07_constrained_EA/best_over_time.png": ("cpu/07_constrained_EA/n_seeds",),
}


# Numbers --------------------------------------------------------------------------------------------------------------


def table(profile: str, notebook: str, name: str) -> list[dict[str, str]]:
    with (ROOT / "results" / profile / notebook / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def look_up(source: str) -> str:
    """The text of a source of `HEADLINES`."""
    place, _, form = source.partition("|")
    split = urlsplit(place)
    profile, notebook, name = split.path.split("/")
    if not split.query:
        found = record(profile, notebook, name)
        return shown(found["value"], found["sd"], form) if "sd" in found else found["text"]
    rows = reported.load(notebook)[name] if profile == "reported" else table(profile, notebook, name)
    wanted = dict(parse_qsl(split.query))
    found = [row for row in rows if all(str(row[column]) == value for column, value in wanted.items())]
    assert len(found) == 1, f"{source}: {len(found)} rows"
    (row,), column = found, split.fragment
    mean = row.get(f"{column}_mean", row.get(column))
    return shown(mean, row.get(f"{column}_sd"), form) if form or f"{column}_mean" in row else mean


def shown(mean: float | str, sd: float | str | None, form: str) -> str:
    values = [mean] if sd in (None, "") else [mean, sd]
    return " ± ".join(format(float(v), form or ".3f") for v in values)


def record(profile: str, notebook: str, name: str) -> dict:
    index = json.loads((ROOT / "results" / profile / notebook / "records.json").read_text(encoding="utf-8"))
    return index["records"][name]


def numbers(text: str) -> list[str]:
    """Numbers, with the deviation that follows. Code, targets of links and names (CIFAR-10, study 03) hold none."""
    prose = re.sub(r"`[^`]*`|\[\d\d\]\([^)]*\)|\]\([^)]*\)|[Ss]tud(?:y|ies) \d\d", " ", text)
    prose = prose.replace("\N{NO-BREAK SPACE}", " ")
    number = r"\d+(?:,\d{3})*(?:\.\d+)?"
    return re.findall(rf"(?<![\w.,-]){number}(?: ± {number})?", prose)


def rows() -> dict[str, str]:
    return {name: line for line, name in re.findall(r"^(\| \*\*\[\d\d\]\(notebooks/(\w+)\.ipynb\).*)$", README, re.M)}


def captions() -> dict[str, str]:
    figure = r'^(?:!\[[^]]*\]\(([^)]+)\)|<img src="([^"]+)"[^>]*>)\n\n\*([^*]+)\*$'
    return {markdown or html: caption for markdown, html, caption in re.findall(figure, README, re.M)}


def test_every_notebook_has_a_row_in_order():
    assert list(rows()) == list(HEADLINES) == sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))


@pytest.mark.parametrize("notebook", HEADLINES)
def test_the_numbers_of_a_row_are_the_records(notebook):
    assert numbers(rows()[notebook]) == [look_up(source) for source in HEADLINES[notebook]]


@pytest.mark.parametrize("notebook", HEADLINES)
def test_a_study_has_numbers_as_soon_as_it_has_results(notebook):
    run = (ROOT / "results" / "cpu" / notebook / "records.json").exists()
    assert run == any(source.startswith("cpu/") for source in HEADLINES[notebook])
    assert run != ("`cpu` has not been run" in rows()[notebook])


def test_every_figure_has_a_caption_whose_numbers_are_the_records():
    shown = re.findall(r'!\[[^]]*\]\(([^)]+)\)|<img src="([^"]+)"', README)
    assert sorted("".join(pair) for pair in shown) == sorted(captions()) == sorted(CAPTIONS)
    for figure, caption in captions().items():
        assert numbers(caption) == [look_up(source) for source in CAPTIONS[figure]], figure


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("| [01](notebooks/01_x.ipynb) a | of ten, 0.914 ± 0.001 (n = 3) |", ["0.914 ± 0.001", "3"]),
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
    found = re.findall(r"(?<=`)\./run_all\.sh[^`\n]*|^\./run_all\.sh.*$", README, re.M)
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


EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


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
