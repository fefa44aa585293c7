"""Notebook 01: what its cells plan, refuse and draw."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest
from matplotlib.legend import Legend

from jahslib.core.trials import History, Trial
from jahslib.data import places
from jahslib.errors import UserError
from jahslib.experiments.notebook import cells, check, experiment, path_of, run_cell
from jahslib.reporting.report import Report

NOTEBOOK = "01_growing_bohb"


def of(**given):
    return experiment(NOTEBOOK, {"profile": "smoke", "device": "cpu"} | given)


@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_every_profile_resolves(profile):
    assert of(profile=profile, data="mnist5k").settings.profile == profile


def test_all_searches_share_budget_folds_and_limit():
    runs = of(seeds=[0, 1]).plan
    assert len(runs) == 10 and len({run.log for run in runs}) == 10
    assert len({run.budget for run in runs}) == 1
    assert {run.problem.max_params for run in runs} == {30_000} and {run.problem.seed for run in runs} == {42}


def test_the_original_s_brackets():
    """3.33 and 10 epochs, rounded up: 3@4 -> 1@10, then 2@10."""
    run = next(r for r in of(profile="cpu", data="mnist5k", per_class=3).plan if r.method == "bohb")
    history, asked = History(), []
    for turn in range(5):
        suggestion = run.optimizer.ask(history)
        id = history.ask(suggestion)
        asked.append((suggestion.fidelity, suggestion.final))
        metrics = {"top1": 0.1 * turn, "params": 100.0}
        history.finish(Trial(**vars(suggestion), id=id, metrics=metrics, epochs=suggestion.fidelity, asked=id + 1))
    assert asked == [(4, False)] * 3 + [(10, True)] + [(10, True)]
    assert history.suggestions[3].parent == 2  # the best of the first rung is continued


def test_reproduce_paper_searches_one_threshold_by_norths_trigger():
    task = of(reproduce_paper=True).METHODS["bohb"].problem
    assert "trigger_threshold" in task.space and task.growth_rule({"trigger_threshold": 0.9}).trigger == "north"


def test_what_the_controls_search():
    spaces = {name: set(method.problem.space) for name, method in of().METHODS.items()}
    assert spaces["hpo"] == {"learning_rate_init"}
    assert spaces["nas"] == spaces["bohb"] - {"learning_rate_init"} and spaces["rs"] == spaces["bohb"]
    assert len(spaces["static"]) == 9 and not any("threshold" in name for name in spaces["static"])


def test_incumbents_are_tested_on_the_test_split_alone_and_traced_where_they_grow():
    plan = of().plan
    assert {run.problem.split for run in plan} == {"validation"} and {run.tested.split for run in plan} == {"test"}
    assert {run.problem.trace_every for run in plan} == {0}
    assert [run.tested.trace_every for run in plan] == [1, 1, 0, 1, 0]


def test_searches_on_a_part_of_the_images_are_tested_after_training_on_all_of_them():
    run = of(profile="cpu", data="mnist5k").plan[0]
    assert (run.problem.per_class, run.tested.per_class) == (600, None)
    assert of(profile="cpu", data="mnist5k", final_per_class=9).plan[0].tested.per_class == 9


def test_working_dir_holds_the_logs(tmp_path):
    assert all(run.log.is_relative_to(tmp_path) for run in of(working_dir=str(tmp_path)).plan)


def test_data_dir_holds_the_data(tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_DATA", "before")
    of(data_dir=str(tmp_path))
    assert places.places()[0] == ("JAHSLIB_DATA", tmp_path)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"methods": ["bohbs"]}, "methods: 'bohbs'"),
        ({"seeds": []}, "seeds: .*give at least one"),
        ({"methods": []}, "methods: none given"),
        ({"per_class": 2}, "per_class: 2 images a class for 3 folds; give at least 3"),
        ({"initial_width": 0}, "initial_width: 0; give a whole number of at least 1"),
        ({"final_trace_every": -1}, "final_trace_every: -1"),
        ({"epoch_budget": 0}, "epoch_budget: 0"),
        ({"eta": 3.5}, r"eta: 3.5 \(float\); give a valid integer"),
        ({"max_parameters": 3}, "did you mean 'max_params'"),
        ({"split": "test"}, "parameter 'split' is unknown"),
        ({"max_params": 1000}, "max_params: 1000 is below the"),
        ({"max_params": -1}, "max_params: -1; give a whole number of at least 1"),
        ({"growth": {"evry": 2}}, "rule: .*evry"),
        ({"growth": {"max_conv": 4}}, "max_conv: 4 is below the initial width 8"),
        ({"growth": {"initialisation": "clever"}}, "initialisation: 'clever' is unknown"),
        ({"runtime": -3.0}, "budget: seconds: -3"),
        ({"batch_norm": "layer"}, "batch_norm: 'layer'"),
        ({"data": "fashion"}, "'fashion' is unknown"),
    ],
)
def test_refuses_what_cannot_work_before_anything_is_written(bad, said, tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    with pytest.raises(UserError, match=said):
        check(NOTEBOOK, {"profile": "smoke", "device": "cpu"} | bad)
    assert not list(tmp_path.iterdir())


def execute(sources, given) -> None:
    """A notebook's code cells in this process, with the parameters that papermill would put after its first."""
    namespace = {"In": []}
    for i, source in enumerate(sources):
        run_cell(source, namespace, NOTEBOOK)
        if i == 0:
            namespace |= given


ADDED = '    "ea": Method("EA growing", growing(searched=joint), Evolution),\n'


def test_a_line_adds_a_method_to_tables_and_figures(tmp_path, monkeypatch):
    """A third optimizer in the dictionary; nothing else is touched."""
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    monkeypatch.setenv("JAHSLIB_RUN", "test")
    sources = cells(path_of(NOTEBOOK))
    (place,) = [i for i, source in enumerate(sources) if "\nMETHODS = {" in source]
    head, brace, tail = sources[place].partition("METHODS = {\n")
    sources[place] = f"from jahslib.optimizers.evolution import Evolution\n{head}{brace}{ADDED}{tail}"
    drawn, save = {}, Report.figure
    monkeypatch.setattr(Report, "figure", lambda self, *args: (drawn.update({args[0]: args[1]}), save(self, *args)))
    execute(sources, {"device": "cpu", "epoch_budget": 6, "methods": ["rs", "hpo", "ea"]})
    results = tmp_path / "results" / "smoke" / NOTEBOOK
    assert len(list(results.glob("logs/ea-seed0.jsonl"))) == len(list(results.glob("logs/test-ea-seed0-*.jsonl"))) == 1
    assert "EA growing" in set(pd.read_csv(results / "methods.csv").method)
    assert "ea" in set(pd.read_csv(results / "curves.csv").method) & set(
        pd.read_csv(results / "evaluations.csv").method
    )
    records = json.loads((results / "records.json").read_text())["records"]
    assert {"ea_val_top1", "ea_test_top1", "opt_cfg_ea_seed0"} <= set(records)
    assert records["left_out"]["value"] == "methods bohb, static, nas"
    for name in ("anytime", "accuracy_size_rate"):
        assert "EA growing" in {
            text.get_text() for legend in drawn[name].findobj(Legend) for text in legend.get_texts()
        }


def test_the_guide_adds_the_line_that_is_tested():
    assert ADDED in (path_of(NOTEBOOK).parents[1] / "docs" / "adding_a_study.md").read_text()


def test_logs_of_a_folder_given_are_counted_there(tmp_path):
    assert check(NOTEBOOK, {"profile": "smoke", "working_dir": str(tmp_path)}) == tmp_path / "logs"


def test_incumbents_are_evaluated_again_where_that_is_asked_for(tmp_path):
    """Not by default: the committed results would train anew."""
    source = next(cell for cell in cells(path_of(NOTEBOOK)) if "evaluate_again(searches)" in cell)
    for asked in (False, True):
        found = of(evaluate_again=asked, methods=["rs"], per_class=9, working_dir=str(tmp_path))
        shown, kept = [], []
        record = SimpleNamespace(table=lambda name, table, about, kept=kept: kept.append(name) or table)
        names = {**vars(found), "searches": found.study.run(found.plan), "record": record, "display": shown.append}
        run_cell(source, names, NOTEBOOK)
        assert kept == ["again"] * asked and len(list((tmp_path / "logs").glob("again-rs-*"))) == asked
    assert shown[0].loc[0, "val_top1"] != shown[0].loc[0, "again"]
