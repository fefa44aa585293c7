import json

import numpy as np
import pandas as pd
import pytest

from jahslib import studies
from jahslib.core.trials import Trial
from jahslib.errors import UserError
from jahslib.figures import panels
from jahslib.problems import growing_convnet
from jahslib.studies import growing_thresholds as study
from jahslib.studies import growing_thresholds_results as results


def options(**given):
    return study.options(**{"profile": "smoke", "device": "cpu"} | given)


def trial(folds):
    """One trial of (accuracy, widths) folds."""
    noted = []
    for top1, widths in folds:
        trace = {"step": [1.0, 2.0]}
        for i, w in enumerate(widths):
            trace |= {f"width_{i}": [8, w], f"effective_{i}": [4.0, w / 2], f"average_{i}": [0.5, 0.5]}
        noted.append({"widths": list(widths), "n_conv": len(widths), "top1": top1, "params": 100.0, "trace": trace})
    return Trial(
        {}, 2, metrics={"top1": float(np.mean([f[0] for f in folds])), "params": 100.0}, outputs={"folds": noted}
    )


def comparison(growing=(0.92, 0.93, 0.94)):
    def runs(values):
        return [trial([(v, (8, 8, 8))]) for v in values]

    baseline = (0.90, 0.91, 0.92)
    return dict(zip(study.TEST_TYPES, map(runs, (baseline, baseline, growing, growing)), strict=True))


class TestOptions:
    @pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
    def test_every_profile_resolves(self, profile):
        assert options(profile=profile).profile == profile

    def test_the_sweep_has_the_originals_points(self):
        runs = study.sweep(options(profile="cpu"))
        assert [name for name, _ in runs] == ["baseline", "NORTH-Select", *(f"q = {q / 10:g}" for q in range(3, 11))]
        rule = runs["NORTH-Select", 0].problem.growth_rule(runs["NORTH-Select", 0].optimizer.configurations[0])
        assert (rule.trigger, rule.conv_threshold, rule.every, rule.max_conv) == ("north", 0.9, 1, 256)
        assert runs["NORTH-Select", 0].problem.initial_width == 16
        assert all(run.problem.folds_used == 5 and run.problem.max_params is None for run in runs.values())

    def test_every_ablation_changes_one_thing(self):
        plain = study.problem(options(growth_every=10)).describe()
        for (name, _), run in study.ablation(options(growth_every=10)).items():
            changed = [k for k, v in run.problem.describe().items() if v != plain[k]]
            assert len(changed) == 1, name

    def test_the_static_incumbent_has_the_reported_size(self):
        assert study.problem(options()).known(growing_convnet.INCUMBENT_STATIC)["params"] == 26_187

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"thresholds": [0.5, 1.2]}, "thresholds: 1.2"),
            ({"thresholds": []}, "thresholds: none given"),
            ({"test_runs": 0}, "test_runs: 0"),
            ({"data": "digits"}, "data: 4 convolutions halve the 8-pixel images"),
            ({"per_class": 4}, "per_class: 4 images a class for 5 folds"),
            ({"north_width": 0}, "initial_width: 0; give at least 1"),
            ({"ablations": {"wide": {"width": 3}}}, "ablations: wide: .*'width'.*; give options of GrowingConvNets"),
            ({"max_width": 4}, "max_conv: 4 is below the initial width"),
            ({"max_params": 500}, "max_params: 500 is below the"),
            ({"threshold": [0.5]}, "did you mean 'thresholds'"),
        ],
    )
    def test_refuses_what_cannot_work_before_anything_is_written(self, bad, said, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        with pytest.raises(UserError, match=said):
            studies.check(study.NOTEBOOK, {"profile": "smoke", "device": "cpu"} | bad)
        assert not list(tmp_path.iterdir())


def test_what_grew_is_retrained_with_its_widths(tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    chosen = tmp_path / "opt_cfg.json"
    c = {"learning_rate_init": 0.02, "n_conv_layers": 2, "n_fc_layers": 1, "conv_trigger_threshold": 0.3}
    chosen.write_text(json.dumps(c | {"fc_trigger_threshold": 0.3}))
    found = study.run_tests(options(test_runs=2, max_epochs=3, configuration=str(chosen)))
    grown = [f["widths"] for t in found["BOHB growing"] for f in t.outputs["folds"]]
    retrained = found["grown, retrained statically"]
    assert [f["widths"] for t in retrained for f in t.outputs["folds"]] == grown
    assert any(w != [8, 8, 8] for w in grown) and {t.configuration["learning_rate_init"] for t in retrained} == {0.02}
    assert [t.configuration["n_fc_layers"] for t in retrained] == [1, 1]


class TestResults:
    def test_the_sweep_stands_beside_the_reported_values(self):
        swept = {"q = 0.8": [trial([(0.8, (10, 12, 14)), (0.9, (11, 12, 15))])]}
        row = results.sweep_table(swept).iloc[0]
        assert (row.channels, row.n) == ("10-12-14", 2) and row.accuracy_sd == pytest.approx(0.05)
        assert (row.reported_channels, row.reported_accuracy) == ("10-16-21", 0.9)
        points = results.sweep_points(swept)
        assert (points.source == "ours").sum() == 2 and (points.source == "reported").sum() == 5

    def test_traces_are_relative_to_the_width(self):
        table = results.traces_table({"x": [trial([(0.8, (10, 12, 14))])]}, "x")
        assert set(table.relative) == {0.5}

    def test_both_tests_are_one_sided_against_the_baseline(self):
        table = results.tests_table(comparison()).set_index("type")
        assert np.isnan(table.loc["baseline", "z_p"])
        assert table.loc["BOHB static", "t_p"] == pytest.approx(0.5)
        assert table.loc["BOHB growing", "z_p"] < table.loc["BOHB growing", "t_p"] < 0.05
        assert results.tests_table(comparison((0.8, 0.81, 0.82))).set_index("type").loc["BOHB growing", "t_p"] > 0.95

    def test_claims(self):
        sizes = {f"q = {q:g}": [trial([(0.8, (8, 8, 8))])] for q in options().thresholds}
        results.check_claims(options(), {"baseline": [], **sizes}, comparison(), {})
        sizes["q = 1"] = [trial([(0.8, (8, 8, 9))])]
        with pytest.raises(AssertionError):
            results.check_claims(options(), {"baseline": [], **sizes}, comparison(), {})

    def test_the_full_data_are_held_to_the_reported_values(self):
        o = options(profile="cpu", thresholds=[1.0])
        sizes = {"baseline": [trial([(0.8, (16, 32, 64))])], "q = 1": [trial([(0.8, (8, 8, 8))])]}
        for (only,), params in zip(sizes.values(), (29_066, 1978), strict=True):
            only.outputs["folds"][0]["params"] = params
        results.check_claims(o, sizes, comparison(), {"baseline": [trial([(0.915, (16, 32, 64))])]})
        with pytest.raises(AssertionError, match=r"baseline: 0\.9"):
            results.check_claims(o, sizes, comparison(), {"baseline": [trial([(0.900, (16, 32, 64))])]})
        with pytest.raises(AssertionError, match=r"100\.0 parameters"):
            results.check_claims(o, sizes, comparison(), {"q = 0.8": [trial([(0.9, (8, 8, 8))])]})


class TestFigures:
    def test_ellipses_and_boxes_show_every_point(self):
        table = pd.DataFrame(
            [
                {"type": t, "params": p, "accuracy": a, "source": s}
                for t, p, a in (
                    ("q = 1", 1978, 0.88),
                    ("q = 1", 1978, 0.89),
                    ("q = 0.3", 6e5, 0.9),
                    ("q = 0.3", 5e5, 0.91),
                )
                for s in ("ours", "reported")
            ]
        )
        figure = panels.ellipses(table, "params", "accuracy", x_label="x", y_label="y", panel="source")
        assert [len(axis.patches) for axis in figure.axes] == [2, 2]
        figure = panels.boxes(table, "accuracy", label="accuracy", panel="source")
        assert sum(len(c.get_offsets()) for c in figure.axes[0].collections) == 4
