import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import typst
from matplotlib.figure import Figure

from jahslib import paths
from jahslib.errors import UserError
from jahslib.experiments.notebook import notebooks
from jahslib.reporting import paper
from jahslib.reporting.report import Report
from jahslib.search.triallog import TrialLog

HELPERS = ("records.typ", "style.typ", "loop.typ")  # functions, layout and a drawing; everything else is prose
NOTEBOOK = "07_constrained_EA"
FURTHER = (paper.SOURCES / "further.typ").read_text()  # tables of all sections
SECTIONS = {p.stem.removeprefix("study_"): p.read_text() + FURTHER for p in sorted(paper.SOURCES.glob("study_*.typ"))}
SECTION = SECTIONS["07"]
poppler = pytest.mark.skipif(not shutil.which("pdftotext"), reason="pdftotext is not installed")


# Records that no notebook made ----------------------------------------------------------------------------------------


# Rows that a section picks by their entries, for its own conditions.
PICKED = {
    "02": {"tests": [{"type": "BOHB growing"}], "sweep": [{"type": "q = 0.3"}, {"type": "q = 1"}]},
    "04": {
        "scores_main": [
            *({"source": "cifar10", "model": model} for model in ("counts", "WL")),
            {"source": "networks"},
        ]
    },
    "06": {
        "bootstrap": [{"second": name} for name in ("random", "Sobol", "grid", "SMAC")],
        "methods": [{"method": name} for name in ("Ax", "random", "Sobol", "grid", "SMAC")],
    },
    "05": {
        "ablation": [{"cells": cells} for cells in ("sampled", "argmax", "uniform, no search")],
        "methods": [{"method": name} for name in ("DARTS, BOHB", "uniform cells")],
    },
    "07": {"mcnemar": [{"pair": "EA-HB vs EA"}], "retrained": [{"configuration": "row 1"}]},
    "08": {"choices": [{"family": "lcbench"}]},
}


# Records that are more than a number or a word, by the function that quotes them.
METHODS = [{"method": "a", "n": 3, "mean": 0.5}, {"method": "b", "n": 0, "mean": None}]
STRUCTURED = {
    "order": [{"leader": "a", "behind": ["b"], "told_apart": [], "methods": METHODS}],
    "numbers": {"networks": 270, "cifar10": 1650},
}
PAIR = {"n": 5, "above": 1, "difference": -0.1, "low": -0.2, "high": 0.1, "p": 0.2, "p_holm": 0.4}
TOLD = {**PAIR, "leader": "a", "told_apart": False}
COMPARED = {"task": "t", "pool": "all", "n_train": 10, "first": "a", "second": "b", **TOLD}
CLAIM = {"claim": "a is ahead of b", "reported": 0.1, **PAIR, "margin": 0.01, "answer": "cannot tell"}


def names(call: str, key: str = "07") -> list[str]:
    """What the section asks for, and the table of claims where it names the study."""
    own = re.findall(call + rf'\(\s*(?:"{key}",\s*)?"(\w+)"', SECTIONS.get(key, ""))
    claimed = re.findall(call + rf'\(\s*"{key}",\s*"(\w+)"', (paper.SOURCES / "claims.typ").read_text())
    return sorted({*own, *claimed})


def columns(key: str = "07") -> dict[str, set[str]]:
    """The columns that the section shows of each table."""
    found: dict[str, set[str]] = {}
    table = rf'records-table\(\s*"{key}",\s*"(\w+)",\s*columns: \((.*?)\n  \)'
    for name, shown in re.findall(table, SECTIONS.get(key, ""), re.S):
        found.setdefault(name, set()).update(re.findall(r"^    (\w+):", shown, re.M))
    return found


def rows(key: str, table: str) -> list[dict[str, str]]:
    """Entries of the rows of a table without which the section does not build."""
    call = rf'records-table\(\s*"{key}",\s*"{table}",((?:(?!records-table).)*?)\n  only: \((\w+): "([^"]*)"\)'
    only = [{column: text} for _, column, text in re.findall(call, SECTIONS.get(key, ""), re.S)]
    return only + PICKED.get(key, {}).get(table, [])


def write_records(root: Path, profile: str = "cpu", notebook: str = NOTEBOOK, torch: str = "2.15.0") -> Path:
    """All records that the section asks for, and their index."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAHSLIB_RESULTS", str(root))
        log = paths.results(profile, notebook) / "random_seed5.jsonl"
        made = {"seed": 5, "commit": "0123456789ab", "versions": {"torch": torch}, "device": "cpu (1 threads)"}
        TrialLog(log, {**made, "fingerprint": {}}).close()
        report = Report(notebook, profile)
        key = notebook[:2]
        structured = {name for call in STRUCTURED for name in names(call, key)}
        for name in {*names("study-value", key), *names("raw-value", key)} - structured:
            value = 0.25 if name.endswith("_share") else name
            report.value(name, value, "a value", text="0.123 ± 0.004")
        for call, value in STRUCTURED.items():
            for name in names(call, key):
                report.value(name, value, "a record")
        report.table("claims", pd.DataFrame([CLAIM, CLAIM]), "claims")
        compared = {*names("tally", key), *names("pairs-told", key)}
        for name in compared:
            measures = ("val_error", "test_error", "kendall")
            report.table(name, pd.DataFrame([{**COMPARED, "measure": m} for m in measures]), "pairs")
        for name, shown in columns(key).items():
            if name in compared:
                continue
            wanted = rows(key, name)
            every = sorted(shown.union(*wanted))
            filled = [[row.get(c, 0.25) for c in every] for row in wanted] + [
                [x] * len(every) for x in ("text", 0.25, 1234567)
            ]
            report.table(name, pd.DataFrame(filled, columns=every), "a table")
        for name in names("records-figure", key):
            figure = Figure(figsize=(4, 1))
            figure.subplots().plot([1, 3, 2])
            report.figure(name, figure, "a figure")
        return report.save([log])


def change(index: Path, name: str, **entries) -> None:
    content = json.loads(index.read_text())
    content["records"][name].update(entries)
    index.write_text(json.dumps(content))


def remove(index: Path, name: str) -> None:
    content = json.loads(index.read_text())
    del content["records"][name]
    index.write_text(json.dumps(content))


def text_of(pdf: Path) -> str:
    return subprocess.run(["pdftotext", "-layout", pdf, "-"], capture_output=True, text=True, check=True).stdout


def prose(pdf: Path) -> str:
    """In the order in which it is read, in one line."""
    return " ".join(subprocess.run(["pdftotext", pdf, "-"], capture_output=True, text=True, check=True).stdout.split())


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    """Records, and the paper that was built of them."""
    root = tmp_path_factory.mktemp("outputs")
    write_records(root)
    paper.build(root)
    return root


@pytest.fixture
def root(full, tmp_path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(full, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def index(root) -> Path:
    return root / "results" / "cpu" / NOTEBOOK / "records.json"


# Building -------------------------------------------------------------------------------------------------------------


def test_same_records_give_the_same_bytes_wherever_they_lie(full, root):
    first = (full / "paper.pdf").read_bytes()
    assert first.startswith(b"%PDF")
    assert paper.build(root).read_bytes() == first


def test_a_study_run_in_part_is_named_and_left_out_if_its_section_does_not_build(root, index, caplog):
    """And one whose section builds all the same keeps it; of a whole run a missing record stops the build."""
    other = write_records(root, notebook="06_ax_bo")
    whole = paper.build(root).read_bytes()
    assert not caplog.text
    remove(other, "smac_val_top1")
    with pytest.raises(UserError, match=r'06_ax_bo .profile cpu.: record "smac_val_top1" is missing'):
        paper.build(root)
    for file in (index, other):
        content = json.loads(file.read_text())
        left_out = {"kind": "value", "value": "methods smac", "text": "methods smac", "about": "what is left out"}
        file.write_text(json.dumps(content | {"records": content["records"] | {"left_out": left_out}}))
    pdf = paper.build(root)
    assert pdf.read_bytes() != whole
    assert "without 06_ax_bo (profile cpu), which was run without methods smac" in caplog.text
    assert NOTEBOOK not in caplog.text
    if shutil.which("pdftotext"):
        text = " ".join(text_of(pdf).split())
        assert "Study 06 (" in text and "was run without methods smac" in text
    shutil.rmtree(index.parent)  # nothing whole is left: a paper of no study still says so
    paper.build(root)


def test_outputs_go_where_the_user_says(root, monkeypatch):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(root))
    assert paper.build() == root / "paper.pdf"
    assert {f.name for f in root.iterdir()} == {"results", "figs", "paper.pdf"}  # no part file stays


@poppler
def test_a_changed_value_changes_the_paper(root, index):
    assert "0.777" not in text_of(root / "paper.pdf")
    change(index, "ea_test_top3", text="0.777 ± 0.001")
    assert "0.777" in text_of(paper.build(root))


def test_a_changed_table_or_figure_changes_the_paper(root, index):
    before = (root / "paper.pdf").read_bytes()
    table = index.parent / "mcnemar.csv"
    table.write_text(table.read_text().replace("1234567", "7654321"))
    after = paper.build(root).read_bytes()
    assert after != before
    figure = root / "figs" / "cpu" / NOTEBOOK / "best_over_time.svg"
    figure.write_text(re.sub(r"stroke-width: [\d.]+", "stroke-width: 5", figure.read_text()))
    assert paper.build(root).read_bytes() != after


@poppler
def test_the_best_profile_is_chosen(root):
    assert paper.profiles(root) == {NOTEBOOK: "cpu"}
    write_records(root, "smoke")
    assert paper.profiles(root) == {NOTEBOOK: "cpu"}
    write_records(root, "paper", torch="9.8.7")
    assert paper.profiles(root) == {NOTEBOOK: "paper"}
    shown = text_of(paper.build(root))
    assert "profile paper" in shown and "9.8.7" in shown and "profile cpu" not in shown


def test_a_smoke_run_is_left_out_where_another_notebook_has_more(root):
    write_records(root, "smoke", notebook="01_growing_bohb")
    assert paper.profiles(root) == {NOTEBOOK: "cpu"}
    write_records(root, "cpu", notebook="01_growing_bohb")
    assert paper.profiles(root) == {"01_growing_bohb": "cpu", NOTEBOOK: "cpu"}


@poppler
def test_a_smoke_run_says_that_it_means_nothing(root):
    notice = "come from the smoke profile"
    assert notice not in text_of(root / "paper.pdf")
    for kind in ("results", "figs"):
        (root / kind / "cpu").rename(root / kind / "smoke")
    assert notice in text_of(paper.build(root))


@poppler
def test_provenance_stands_at_the_head_and_under_every_table(full):
    shown = text_of(full / "paper.pdf")
    line = "profile cpu · cpu (1 threads) · seed 5"
    assert shown.count(line + " · torch 2.15.0 · commit 0123456789ab") == 1
    assert shown.count(line) == 1 + len(re.findall(r'#records-table\(\s*"07"', SECTION))


@pytest.mark.parametrize("notebook", notebooks())
@poppler
def test_every_section_builds_without_the_others(notebook, tmp_path):
    write_records(tmp_path, notebook=notebook)
    shown = text_of(paper.build(tmp_path))
    assert [key for key in SECTIONS if f"Study {key}" in shown] == [notebook[:2]]


def test_every_study_has_a_section():
    assert [notebook[:2] for notebook in notebooks()] == list(SECTIONS)


@poppler
def test_a_study_without_records_is_left_out(tmp_path):
    write_records(tmp_path, notebook="98_another_study")
    shown = text_of(paper.build(tmp_path))
    assert "The common frame" in shown and "Study 07" not in shown


# What is missing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ea_test_top3", "mcnemar", "best_over_time"])
def test_a_missing_record_stops_the_build(root, index, name):
    before = (root / "paper.pdf").read_bytes()
    remove(index, name)
    with pytest.raises(UserError) as error:
        paper.build(root)
    assert all(word in str(error.value) for word in (NOTEBOOK, f'"{name}"', "profile cpu"))
    assert "\n" not in str(error.value)
    assert (root / "paper.pdf").read_bytes() == before


def test_a_record_that_only_a_condition_reads_is_missed_too(tmp_path):
    name = next(n for n in names("raw-value", "02") if n not in names("study-value", "02"))
    remove(write_records(tmp_path, notebook="02_growing_thresholds"), name)
    with pytest.raises(UserError, match=f'02_growing_thresholds .profile cpu.: record "{name}" is missing'):
        paper.build(tmp_path)


def test_a_table_without_a_row_that_the_paper_shows_stops_the_build(tmp_path):
    index = write_records(tmp_path, notebook="03_grammar_search")
    table = index.parent / "table_pairs.csv"
    table.write_text(table.read_text().replace("test_error", "other"))
    with pytest.raises(UserError, match=r'03_grammar_search .profile cpu.: table "table_pairs" has no row'):
        paper.build(tmp_path)


@poppler
def test_a_smoke_run_that_retrains_nothing_builds_without_its_claim(root, index):
    claim = "Trained anew as in the original"
    assert claim in prose(root / "paper.pdf")
    table = index.parent / "retrained.csv"
    table.write_text(table.read_text().splitlines()[0] + "\n")
    assert claim not in prose(paper.build(root))


def test_a_record_of_another_kind_stops_the_build(root, index):
    change(index, "ea_test_top3", kind="table", file="mcnemar.csv")
    with pytest.raises(UserError, match='"ea_test_top3" is a table'):
        paper.build(root)


def test_a_missing_column_stops_the_build(root, index):
    table = index.parent / "mcnemar.csv"
    table.write_text(table.read_text().replace("statistic", "other"))
    with pytest.raises(UserError, match=rf'{NOTEBOOK} \(profile cpu\): table "mcnemar" has no column "\w*statistic"'):
        paper.build(root)


def test_a_lost_file_stops_the_build(root):
    (root / "figs" / "cpu" / NOTEBOOK / "best_over_time.svg").unlink()
    with pytest.raises(UserError, match=f"{NOTEBOOK} .profile cpu.: record 'best_over_time'"):
        paper.build(root)


def test_a_damaged_index_stops_the_build(root, index):
    index.write_text("{")
    with pytest.raises(UserError, match=r"records\.json"):
        paper.build(root)


def test_the_command_says_in_one_line_that_nothing_has_run(tmp_path):
    command = [sys.executable, "-m", "jahslib.reporting.paper"]
    environment = {**os.environ, "JAHSLIB_RESULTS": str(tmp_path), "PYTHONPATH": str(paths.ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no records" in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# Cells and numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "decimals", "shown"),
    [
        ("1012899", "auto", "1,012,899"),
        ("-3", "auto", "−3"),
        ("0.9", "auto", "0.900"),
        ("20000000.0", "0", "20,000,000"),
        ("2e+07", "0", "20,000,000"),
        ("1e+08", "0", "100,000,000"),
        ("-0.25", "1", "−0.3"),
        ("3e-09", "auto", "< 0.001"),
        ("0", "auto", "0"),
        ("", "auto", "–"),
        ("True", "auto", "yes"),
        ("EA-HB", "auto", "EA-HB"),
        (["0.5", "0.104"], "auto", "0.500\u00a0±\u00a00.104"),
        (["-2.04", "0.16"], "2", "−2.04\u00a0±\u00a00.16"),
        (["29864.3", "1200"], "0", "29,864\u00a0±\u00a01,200"),
        (["0.5", ""], "2", "0.50"),
        (["", ""], "auto", "–"),
        ("5.07e-05", "none", "5.07·10⁻⁵"),
        ("0.00622879", "none", "0.00623"),
        ("0.1", "none", "0.1"),
        ("20", "none", "20"),
        ("8-8-8", "auto", "8-8-8"),
    ],
)
def test_cells_are_shown_readably(raw, decimals, shown, tmp_path):
    shutil.copyfile(paper.SOURCES / "records.typ", tmp_path / "records.typ")
    main = tmp_path / "main.typ"
    entry = json.dumps(raw) if isinstance(raw, str) else f"({', '.join(map(json.dumps, raw))})"
    main.write_text(f'#import "records.typ": _cell\n#metadata(_cell({entry}, {decimals})) <cell>')
    assert json.loads(typst.query(main, "<cell>", field="value", one=True)) == shown


# Links and pages ------------------------------------------------------------------------------------------------------

Word = tuple[str, float, float, float, float]
SIDE = 15.5 / 25.4 * 72  # the text's left edge in points


def words(pdf: Path) -> list[list[Word]]:
    """Per page: word, xMin, yMin, xMax, yMax in points."""
    shown = subprocess.run(["pdftotext", "-bbox", pdf, "-"], capture_output=True, text=True, check=True).stdout
    box = re.compile(r'<word xMin="([\d.]+)" yMin="([\d.]+)" xMax="([\d.]+)" yMax="([\d.]+)">(.*?)</word>')
    return [[(m[5], *map(float, m.groups()[:4])) for m in box.finditer(p)] for p in shown.split("<page ")[1:]]


def query(root: Path, label: str) -> list[dict]:
    """What the sources say under a label, built with the records of a folder."""
    chosen = paper.profiles(root)
    with paper.staged(root, chosen) as stage:
        found = typst.query(stage / "main.typ", label, root=stage, sys_inputs=chosen, field="value")
    return json.loads(found)


@pytest.fixture(scope="module")
def committed(tmp_path_factory) -> Path:
    """A folder with this repository's own records and the paper that they give."""
    root = tmp_path_factory.mktemp("committed")
    for kind in ("results", "figs"):
        (root / kind).symlink_to(paths.ROOT / kind)
    paper.build(root)
    return root


@poppler
def test_every_quoted_record_has_an_entry_in_the_appendix(full):
    pages = subprocess.run(["pdftotext", full / "paper.pdf", "-"], capture_output=True, text=True, check=True).stdout
    named = {*pages.partition("A Further tables")[2].split()}
    wanted = {*names("study-value"), *columns(), *names("records-figure"), "reported.shares"}
    assert len(wanted) > 20
    assert wanted <= named


@poppler
def test_a_number_stands_plain_and_leads_to_its_record(root, index):
    change(index, "default_params", text="UNIQUE")
    assert "UNIQUE" in {re.sub(r"\W", "", word[0]) for page in words(paper.build(root)) for word in page}
    assert {"key": "07", "name": "default_params"} in query(root, "<quoted-record>")


@poppler
def test_text_keeps_to_its_place(full, committed):
    for pdf in (full / "paper.pdf", committed / "paper.pdf"):
        for _, left, _, right, low in (word for page in words(pdf) for word in page):
            assert SIDE - 4 < left
            assert right < 595 - SIDE + 4
            assert low < 842 - 8


def test_the_paper_has_8_to_14_pages_before_its_appendix(committed):
    (first,) = query(committed, "<appendix-page>")
    assert 8 <= first - 1 <= 14


def test_no_table_is_set_smaller_than_7_point(committed):
    widths = query(committed, "<table-width>")
    assert len(widths) > 20
    assert [w for w in widths if w["points"] < 7] == []


# No result is typed by hand -------------------------------------------------------------------------------------------

STATEMENT = {"let", "set", "show", "import", "include", "return"}
BRANCH = {"if", "for", "while", "else"}
IDENTIFIER = re.compile(r"[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*")
LENGTH = re.compile(r"\d+(\.\d+)?(pt|mm|cm|em|fr)")


class TypedDigits:
    """Digits that a Typst source would print: those of its prose, and values hidden in its code or equations.

    Allowed are records' and notebooks' names, layout lengths, whole numbers as named arguments or in comparisons, whole
    numbers in equations, labels and references. In `helper` files only the prose counts.
    """

    def __init__(self, source: str, helper: bool = False):
        self.source, self.helper = source, helper
        self.found: list[str] = []
        self.markup(0)

    def flag(self, at: int, length: int = 12) -> None:
        line = self.source.count("\n", 0, at) + 1
        self.found.append(f"line {line}: {self.source[at : at + length]!r}")

    def at(self, i: int, pattern: str) -> re.Match | None:
        return re.compile(pattern).match(self.source, i)

    def skip_comment(self, i: int) -> int:
        if self.source[i] == "/" and self.source[i - 1] != ":":
            end = self.at(i, r"//[^\n]*|/\*(?s:.*?)\*/")
            return end.end() if end else i
        return i

    def markup(self, i: int, until: str = "") -> int:
        while i < len(self.source):
            c = self.source[i]
            if c == until:
                return i + 1
            if (after := self.skip_comment(i)) > i:
                i = after
            elif c == "\\":
                escape = self.at(i, r"\\(u\{[0-9a-f]+\}|.|\n)")
                i = escape.end() if escape else i + 1
            elif c == "$":
                i = self.equation(i)
            elif skipped := self.at(i, r"<[A-Za-z][\w.:-]*>|@[A-Za-z][\w-]*"):
                i = skipped.end()
            elif c == "#":
                i = self.expression(i + 1)
            elif c == "[":
                i = self.markup(i + 1, "]")
            elif c.isdigit():
                self.flag(i)
                i = self.at(i, r"[\d.,]+").end()
            elif word := self.at(i, r"[^\W\d]+"):
                i = word.end()
            else:
                i += 1
        return i

    def equation(self, i: int) -> int:
        end = self.source.index("$", i + 1)
        if value := re.search(r"\d*\.\d+", self.source[i:end]):
            self.flag(i + value.start())
        return end + 1

    def expression(self, i: int) -> int:
        """What follows a `#`; returns where the prose goes on."""
        name = IDENTIFIER.match(self.source, i)
        if name is None:
            return self.code(i, once=True)
        if name[0] == "context":
            return self.expression(self.at(name.end(), r"\s*").end())
        if name[0] in STATEMENT:
            return self.code(name.end(), line=True)
        if name[0] in BRANCH:
            i = self.code(name.end(), body=True)
            more = self.at(i, r"\s*else\b(\s+if\b)?")
            while more:
                i = self.code(more.end(), body=True)
                more = self.at(i, r"\s*else\b(\s+if\b)?")
            return i
        i = name.end()
        while call := self.at(i, r"[(\[]|\.[A-Za-z]\w*"):
            i = call.end() if call[0][0] == "." else self.code(i, once=True)
        if self.source[i : i + 1] == ";":
            self.found.append(f"line {self.source.count(chr(10), 0, i) + 1}: the semicolon after a call is not printed")
        return i

    def code(self, i: int, until: str = "", *, line: bool = False, body: bool = False, once: bool = False) -> int:
        """`until` a closing bracket, to the end of the `line`, through the `body` of a branch, or `once`: one token."""
        while i < len(self.source):
            c = self.source[i]
            if c == until:
                return i + 1
            if line and c in "\n)]}":
                return i
            if (after := self.skip_comment(i)) > i:
                i = after
                continue
            ends = once
            if c == '"':
                end = re.compile(r'"(\\.|[^"\\])*"').match(self.source, i).end()
                self.string(i, self.source[i + 1 : end - 1])
                i = end
            elif c == "$":
                i = self.equation(i)
            elif c == "[":
                i, ends = self.markup(i + 1, "]"), once or body
            elif c in "({":
                i, ends = self.code(i + 1, ")" if c == "(" else "}"), once or (body and c == "{")
            elif name := IDENTIFIER.match(self.source, i):
                i = name.end()
            elif c.isdigit():
                literal = self.at(i, r"[\d.]+[a-z%]*")
                assert literal
                self.number(i, literal[0])
                i = literal.end()
            else:
                i += 1
            if ends:
                return i
        return i

    def string(self, at: int, content: str) -> None:
        names_removed = re.sub(r"[A-Za-z][\w-]*(\.\w+)*", "", content)
        if not self.helper and not re.fullmatch(r"\d\d", content) and re.search(r"\d", names_removed):
            self.flag(at)

    def number(self, at: int, literal: str) -> None:
        before = self.source[max(0, at - 30) : at]
        whole = literal.isdigit() and re.search(r"([\w-]: |[=<>!]=? )$", before)
        width = literal.endswith("%") and re.search(r"(width|height): $", before)
        if not (self.helper or whole or width or LENGTH.fullmatch(literal)):
            self.flag(at)


@pytest.mark.parametrize("source", sorted(paper.SOURCES.glob("*.typ")), ids=lambda s: s.name)
def test_no_branch_ends_up_in_the_text(source):
    """In markup an `else` has to follow on the line of the bracket before it; on a line of its own it is printed."""
    assert not re.search(r"^else \[", source.read_text(), re.M)


@pytest.mark.parametrize("source", sorted(paper.SOURCES.glob("*.typ")), ids=lambda s: s.name)
def test_no_number_is_typed_by_hand(source):
    assert TypedDigits(source.read_text(), source.name in HELPERS).found == []


@pytest.mark.parametrize(
    "typed",
    [
        "EA-HB reaches 0.87 on test data",
        "It was run with 3 seeds.",
        "the top-3 accuracy",
        '#records-figure("07", "rungs", caption: [Over 3 seeds.])',
        'It reaches #text("0.87").',
        "#let best = 0.87",
        "#let best = [0.87]",
        "It reaches #(0.87), no less",
        "It reaches #0.87 here",
        "It reaches $0.87$.",
        "It reaches $x = .87$.",
        "#if good [it reaches 0.87]",
        "#if good [it wins] else [it reaches 0.87]",
        "- *Item.* A list with 12 entries",
        'It is #study-value("x"); the rest',
    ],
)
def test_a_typed_number_is_caught(typed):
    assert len(TypedDigits(SECTION).found) == 0
    assert len(TypedDigits(SECTION + "\n" + typed + "\n").found) == 1


@pytest.mark.parametrize(
    "fine",
    [
        'It reaches #value("07", "ea_hb_top3").',
        "A cap for $B = 128$, see @fig2 and @table3.",
        "= A heading <section2>",
        "// 12 in a comment",
        '#records-table("07", "x", columns: (test_top3: "Test|top-3"), decimals: (test_top3: 2)) <t1>',
        '#records-figure("07", "x", width: 80%)\n#v(3pt)',
        '#if raw-value("07", "n") == 1 [seed] else [seeds], which',
    ],
)
def test_names_and_layout_are_not_results(fine):
    assert TypedDigits(fine).found == []
