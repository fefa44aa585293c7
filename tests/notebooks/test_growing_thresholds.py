"""Notebook 02: what its cells plan, refuse and claim."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest

from jahslib.core.trials import Trial
from jahslib.errors import UserError
from jahslib.experiments.notebook import cells, check, experiment, run_cell
from jahslib.problems import growing_convnet

NOTEBOOK = "02_growing_thresholds"
STATIC = "grown, retrained statically"


def of(**given):
    return experiment(NOTEBOOK, {"profile": "smoke", "device": "cpu"} | given)


def trial(top1=0.9, widths=(8, 8, 8), params=1978.0):
    fold = {"widths": list(widths), "n_conv": len(widths), "top1": top1, "params": params}
    return Trial({}, 2, metrics={"top1": top1, "params": params}, outputs={"folds": [fold]})


class TestPlan:
    @pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
    def test_every_profile_resolves_without_its_data(self, profile, monkeypatch):
        monkeypatch.delenv("JAHSLIB_DATA", raising=False)
        found = of(profile=profile)
        assert found.settings.profile == profile and len({run.log for run in found.study.planned}) == len(
            [*found.sweep, *found.full, *found.ablation, *found.tests]
        )

    def test_the_sweep_has_the_originals_points(self):
        runs = of(profile="cpu").sweep
        assert [name for name, _ in runs] == ["baseline", "NORTH-Select", *(f"q = {q / 10:g}" for q in range(3, 11))]
        rule = runs["NORTH-Select", 0].problem.growth_rule(runs["NORTH-Select", 0].optimizer.configurations[0])
        assert (rule.trigger, rule.conv_threshold, rule.every, rule.max_conv) == ("north", 0.9, 1, 256)
        assert runs["NORTH-Select", 0].problem.initial_width == 16
        assert all(run.problem.folds_used == 5 and run.problem.max_params is None for run in runs.values())

    def test_a_seed_more_is_a_training_more_of_every_point_but_those_on_all_of_the_data(self):
        found = of(profile="cpu", seeds=[3, 4], thresholds=[0.8])
        assert [(name, seed) for name, seed in found.sweep if name == "q = 0.8"] == [("q = 0.8", 3), ("q = 0.8", 4)]
        assert len(found.ablation) == 2 * len(found.ABLATIONS) and {seed for _, seed in found.full} == {3}

    def test_every_ablation_changes_one_thing(self):
        found = of(growth_every=10)
        plain = found.swept.describe()
        for (name, _), run in found.ablation.items():
            changed = [k for k, v in run.problem.describe().items() if v != plain[k]]
            assert len(changed) == 1, name

    def test_the_comparison_is_on_the_test_split_and_under_the_limit_alone(self):
        found = of(max_params=20_000)
        assert {(run.problem.split, run.problem.max_params) for run in found.tests.values()} == {("test", 20_000)}
        assert {run.problem.split for run in [*found.sweep.values(), *found.ablation.values()]} == {"validation"}
        assert of(max_params="none").limited.max_params is None

    def test_the_static_incumbent_has_the_reported_size(self):
        assert of().swept.known(growing_convnet.INCUMBENT_STATIC)["params"] == 26_187

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"thresholds": [0.5, 1.2]}, r"thresholds: .*1\.2.*less than or equal to 1"),
            ({"thresholds": []}, "thresholds: .*at least 1"),
            ({"gamma": -0.1}, "gamma: -0.1"),
            ({"test_runs": 0}, "test_runs: 0"),
            ({"trace_every": 0}, "trace_every: 0"),
            ({"full_folds": 6}, "folds_used: 6 of 5 folds"),
            ({"data": "digits"}, "data: 4 convolutions halve the 8-pixel images"),
            ({"per_class": 4}, "per_class: 4 images a class for 5 folds"),
            ({"north_width": 0}, "north_width: 0"),
            ({"ablations": {"wide": {"width": 3}}}, "ablations: wide: .*'width'.*; give options of GrowingConvNets"),
            ({"ablations": {"odd": {"rule": {"evry": 3}}}}, "rule: .*evry"),
            ({"max_width": 4}, "max_conv: 4 is below the initial width"),
            ({"max_params": 500}, "max_params: 500 is below the"),
            ({"threshold": [0.5]}, "did you mean 'thresholds'"),
            ({"configuration": "nowhere.json"}, "configuration: no file nowhere.json"),
        ],
    )
    def test_refuses_what_cannot_work_before_anything_is_written(self, bad, said, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        with pytest.raises(UserError, match=said):
            check(NOTEBOOK, {"profile": "smoke", "device": "cpu"} | bad)
        assert not list(tmp_path.iterdir())


def test_what_grew_is_retrained_with_its_widths(tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    file = tmp_path / "opt_cfg.json"
    c = {"learning_rate_init": 0.02, "n_conv_layers": 2, "n_fc_layers": 1, "conv_trigger_threshold": 0.3}
    file.write_text(json.dumps(c | {"fc_trigger_threshold": 0.3}))
    found = of(test_runs=2, max_epochs=3, configuration=str(file))
    (grown,) = found.study.train({"grown": found.tests["BOHB growing", 0]}).values()
    retrained = found.study.train(found.of_what_grew(grown))[STATIC, 0]
    widths = [f["widths"] for t in grown for f in t.outputs["folds"]]
    assert [f["widths"] for t in retrained for f in t.outputs["folds"]] == widths
    assert any(w != [8, 8, 8] for w in widths) and {t.configuration["learning_rate_init"] for t in retrained} == {0.02}
    assert [t.configuration["n_fc_layers"] for t in retrained] == [1, 1]


class TestClaims:
    """The notebook's asserting cells, on trials that are made up."""

    def claim(self, trained, on_all=None, growing=None, **given):
        found = of(**given)
        original = {name: {"accuracy": a} for name, a in (("baseline", 0.912), ("q = 0.8", 0.9), ("q = 1", 0.887))}
        namespace = vars(found) | {
            "In": [],
            "trained": {"baseline": [trial(params=29_066.0)]} | trained,
            "on_all": on_all or {},
            "tested": {"BOHB growing": [growing or trial()]},
            "of_sweep": original,
        }
        claims = [source for source in cells(NOTEBOOK) if "\nassert " in source or "    assert " in source]
        assert len(claims) == 2
        for source in claims:
            run_cell(source, namespace, NOTEBOOK)

    def test_sizes_fall_with_q_and_nothing_grows_where_nothing_may(self):
        sizes = {"q = 0.3": [trial(params=9000.0)], "q = 0.8": [trial(params=5000.0)], "q = 1": [trial()]}
        self.claim(sizes)
        with pytest.raises(UserError, match="growth at q = 1"):
            self.claim(sizes | {"q = 1": [trial(widths=(8, 8, 9))]})
        with pytest.raises(UserError, match="sizes do not fall"):
            self.claim(sizes | {"q = 0.3": [trial(params=4000.0)]})

    def test_the_limit_is_kept(self):
        sizes = {name: [trial()] for name in ("q = 0.3", "q = 0.8", "q = 1")}
        with pytest.raises(UserError, match="AssertionError"):
            self.claim(sizes, growing=trial(params=30_001.0))
        self.claim(sizes, growing=trial(params=30_001.0), max_params="none")

    @pytest.mark.parametrize(
        ("on_all", "said"),
        [
            ({"baseline": [trial(0.915)]}, None),
            ({"baseline": [trial(0.900)]}, r"baseline: 0\.9"),
            ({"q = 0.8": [trial(0.9)]}, r"1978\.0 parameters"),
            ({"q = 0.8": [trial(0.9, params=6400.0)]}, None),
        ],
    )
    def test_all_of_the_data_are_held_to_the_reported_values(self, on_all, said):
        given = {"profile": "cpu", "thresholds": [1.0]}
        if said is None:
            self.claim({"q = 1": [trial()]}, on_all, **given)
        else:
            with pytest.raises(UserError, match=said):
                self.claim({"q = 1": [trial()]}, on_all, **given)

    def test_in_the_paper_profile_the_sweep_itself_has_all_of_the_data(self):
        with pytest.raises(UserError, match=r"q = 1: 0\.9000"):
            trained = {"baseline": [trial(0.915, params=29_066.0)], "q = 1": [trial()]}
            self.claim(trained, trained, profile="paper", thresholds=[1.0])

    def test_a_part_of_the_data_is_not_held_to_them(self):
        self.claim({"q = 1": [trial(0.5)]}, profile="cpu", thresholds=[1.0], full_folds=0)

    @pytest.mark.parametrize(("thresholds", "n"), [([0.35, 0.55], 2), ([0.35], 0)])
    def test_points_that_the_original_has_not_are_claimed_without_its_values(self, thresholds, n):
        names = [f"q = {q:g}" for q in thresholds] + ["baseline", "BOHB growing"]
        rows = [{"type": m, "training": i, "accuracy": 0.9 - 0.1 * i, "params": 2000.0} for m in names for i in (0, 1)]
        tables, points = [], pd.DataFrame(rows).assign(source="ours")
        original = {name: {"accuracy": a, "params_thousands": 1.0} for name, a in (("baseline", 0.8), (names[-1], 0.9))}
        (source,) = [source for source in cells(NOTEBOOK) if "claims_table(" in source]
        namespace = vars(of(thresholds=thresholds)) | {"In": [], "highest": max(thresholds), "trained_on_all": {}}
        namespace |= {"points": points, "runs": points, "of_sweep": original, "of_tests": original}
        namespace["record"] = SimpleNamespace(table=lambda name, table, about: tables.append(table) or table)
        run_cell(source, namespace, NOTEBOOK)
        assert tables[0].n.tolist() == [n, 2] and tables[0].reported.isna().tolist() == [True, False]
