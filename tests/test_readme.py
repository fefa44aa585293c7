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

from jahslib import reported, runner
from jahslib.paths import ROOT

README = (ROOT / "README.md").read_text()
PAGES = [
    ROOT / "README.md",
    ROOT / "data" / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("benchmarks/*.md")),
]

# The sources of all numbers in a study's row, in their order; () while the study has no cpu results. A source is
# PROFILE/NOTEBOOK/RECORD, of a value its text, or of a table RECORD?COLUMN=VALUE#COLUMN; with "reported" for the
# profile it is a key of reported.json. What it holds is formatted by what stands after a bar.
HEADLINES = {
    "01_growing_bohb": (
        "reported/02_growing_thresholds/test?type=BOHB growing#accuracy|.3f ± accuracy_sd",
        "reported/02_growing_thresholds/test?type=BOHB static#accuracy|.3f ± accuracy_sd",
        "cpu/01_growing_bohb/bohb_test_top1",
        "cpu/01_growing_bohb/static_test_top1",
        "cpu/01_growing_bohb/n_seeds",
    ),
    "02_growing_thresholds": (
        "reported/02_growing_thresholds/sweep?type=threshold&q=0.8#accuracy|.3f ± accuracy_sd",
        "cpu/02_growing_thresholds/full_q80_accuracy",
        "cpu/02_growing_thresholds/full_folds",
    ),
    "03_grammar_search": (
        "cpu/03_grammar_search/table_methods?data=cifar10&method=BO, WL#test_error",
        "cpu/03_grammar_search/table_methods?data=cifar10&method=evolution#test_error",
        "cpu/03_grammar_search/table_methods?data=cifar10&method=random#test_error",
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
        "cpu/08_head_to_head/scores?task=cells, cifar100&method=grammar BO#test_error",
        "cpu/08_head_to_head/scores?task=cells, cifar100&method=Ax#test_error",
        "cpu/08_head_to_head/scores?task=cells, cifar100&method=RS#test_error",
        "cpu/08_head_to_head/scores?task=constrained CNN, micro17flower&method=Ax#feasible",
        "cpu/08_head_to_head/scores?task=constrained CNN, micro17flower&method=RS#feasible",
        "cpu/08_head_to_head/n_seeds",
    ),
}

METHODS = ("RS", "EA", "EA-HB", "RE", "BOHB", "Ax")  # of study 08 on trained networks

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
        return record(profile, notebook, name)["text"]
    rows = reported.load(notebook)[name] if profile == "reported" else table(profile, notebook, name)
    wanted = dict(parse_qsl(split.query))
    found = [row for row in rows if all(str(row[column]) == value for column, value in wanted.items())]
    assert len(found) == 1, f"{source}: {len(found)} rows"
    digits, _, spread = form.partition(" ± ")
    values = [found[0][split.fragment], *([found[0][spread]] if spread else [])]
    return " ± ".join(format(value, digits) for value in values)


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


# What the rows say in words -------------------------------------------------------------------------------------------


def value(notebook: str, name: str):
    return record("cpu", notebook, name)["value"]


def test_words_01_growing_networks_are_not_ahead():
    assert value("01_growing_bohb", "bohb_test_top1") <= value("01_growing_bohb", "static_test_top1")
    assert "6,000 of 60,000" in value("01_growing_bohb", "profile_note")


def test_words_02_near_on_all_images_and_no_lead_on_a_tenth():
    full = table("cpu", "02_growing_thresholds", "full")
    assert len(full) == 3
    assert all(abs(float(row["accuracy"]) - float(row["reported_accuracy"])) < 0.01 for row in full)
    (growing,) = [row for row in table("cpu", "02_growing_thresholds", "tests") if row["type"] == "BOHB growing"]
    significance = reported.load("02_growing_thresholds")["significance"]
    assert significance["rejected"] and float(growing["z_p"]) > significance["alpha"]
    assert "6,000 of 60,000" in value("02_growing_thresholds", "profile_note")
    sweep = [row for row in table("cpu", "02_growing_thresholds", "sweep") if row["type"].startswith("q = ")]
    sizes, accuracies = ({row["type"]: float(row[name]) for row in sweep} for name in ("params", "accuracy"))
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)
    assert max(accuracies, key=lambda q: accuracies[q]) == "q = 0.7"


def test_words_03_ahead_on_the_table_with_one_exception_and_not_told_apart_by_training():
    said = value("03_grammar_search", "paired_tables")
    assert "against random: ahead in 6 of 6" in said
    assert "against evolution: ahead in 5 of 6" in said and "not told apart in ImageNet16-120, test error" in said
    trained = value("03_grammar_search", "paired_trained")
    assert trained.count("not told apart in 2 of 2") == 2 and value("03_grammar_search", "n_seeds") == 3


def test_words_04_ahead_at_every_size_and_most_from_few():
    pairs = table("cpu", "04_surrogate_regression", "pairs")
    differences = {int(row["n_train"]): float(row["difference"]) for row in pairs}
    assert all(float(row["low"]) > 0 for row in pairs)
    assert max(differences, key=lambda n: differences[n]) == value("04_surrogate_regression", "n_smallest")


def test_words_05_zero_takes_over_with_and_without_prevention_and_fixed_training_beats_both():
    assert value("05_darts_bohb", "data") == "retinadigits"
    for variant in ("prevented", "plain"):
        assert value("05_darts_bohb", f"collapse_{variant}_leader") == "zero"
        identity, spread = map(float, value("05_darts_bohb", f"collapse_{variant}_identity").split(" ± "))
        assert identity - spread < 0.2  # where all began
    assert value("05_darts_bohb", "collapse_effect") == "not told apart"
    found = {row["method"]: row["test_acc"] for row in table("cpu", "05_darts_bohb", "methods")}
    (fixed,) = [r["test_acc"] for r in table("cpu", "05_darts_bohb", "ablation") if r["cells"] == "uniform, no search"]
    (bohb, spread), (uniform, _) = (map(float, found[m].split(" ± ")) for m in ("DARTS, BOHB", "uniform cells"))
    assert abs(bohb - uniform) < spread
    assert float(fixed.split()[0]) > max(bohb, uniform)


def test_words_06_ax_is_not_told_apart():
    pairs = [row for row in table("cpu", "06_ax_bo", "bootstrap") if not row["pair"].startswith("Ax − Ax")]
    assert {row["pair"] for row in pairs} == {f"Ax − {other}" for other in ("random", "Sobol", "grid", "SMAC")}
    assert all(float(row["low"]) < 0 < float(row["high"]) for row in pairs)


def test_words_07_neither_random_search_nor_ax_is_behind():
    means = {row["method"]: float(row["test_top3"].split()[0]) for row in table("cpu", "07_constrained_EA", "methods")}
    assert means["EA-HB"] <= min(means["RS"], means["Ax"])
    printed = {row["method"]: row["test_top3"] for row in reported.load("07_constrained_EA")["test"]}
    assert printed["EA-HB"] > printed["RS"]


def test_words_08_who_wins_where_and_why():
    """Those of the notebook's "What `cpu` showed" too."""
    notebook = "08_head_to_head"
    best = {row["task"]: row["best"] for row in table("cpu", notebook, "winners")}
    constrained, growing, *cells = best
    assert [best[task] for task in cells] == ["grammar BO"] * 3 and best[constrained] == "Ax"
    assert value(notebook, "alike_growing_convnet").count(",") == 4
    assert value(notebook, "all_tasks_apart") == "none" == value(notebook, "trained_networks_apart")
    assert value(notebook, "ahead_of_random") == "grammar BO on cells, cifar10; grammar BO on cells, cifar100"
    assert value(notebook, "cells_of_the_table_ranks").startswith("grammar BO (1.78), RE")
    score = {(row["task"], row["method"]): row for row in table("cpu", notebook, "scores")}
    mean, spread = ({m: float(score[growing, m]["test_error"].split(" ± ")[i]) for m in METHODS} for i in (0, 1))
    assert max(mean.values()) - min(mean.values()) < min(spread.values())
    feasible = {m: int(score[constrained, m]["feasible"]) for m in METHODS}
    assert feasible.pop("Ax") == 10 and set(feasible.values()) == {4, 5, 6}
    share = {m: float(score[constrained, m]["feasible_share"].split()[0]) for m in METHODS}
    assert share.pop("Ax") == pytest.approx(100 / 3, abs=0.5) and share["RS"] == pytest.approx(100 / 15, abs=0.5)
    assert max(share.values()) < 100 / 7
    trainings = {m: score[constrained, m]["full_trainings"] for m in ("EA", "EA-HB")}
    assert trainings == {"EA": "20 ± 0", "EA-HB": "13 ± 0"}
    assert all(int(score[task, "EA"]["configurations"].split()[0]) in (42, 43, 44) for task in cells)
    rank = {row["task"]: row for row in table("cpu", notebook, "ranks") if row["error"] == "test"}
    lead = [float(rank[task]["ea"]) - float(rank[task]["ea_hb"]) for task in (constrained, growing)]
    assert min(lead) < 0 < max(lead) and max(map(abs, lead)) < 0.5
    taus = {(row["task"], row["method"]): float(row["tau"]) for row in table("cpu", notebook, "rungs")}
    assert all(tau > 0.6 if task == constrained else tau < 0.5 for (task, _), tau in taus.items())
    waits = {row["task"]: row for row in table("cpu", notebook, "proposals")}
    assert all(float(waits[t]["grammar"]) < float(waits[t]["bohb"]) < float(waits[t]["ax"]) for t in cells)
    costs = [row for row in table("cpu", notebook, "costs") if (row["task"], row["method"]) == (constrained, "ax")]
    choosing, training = (sum(float(row[name]) for row in costs) for name in ("choosing", "training"))
    assert 0.6 < choosing / training < 0.75


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
