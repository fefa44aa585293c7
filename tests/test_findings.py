"""What README's table and the notebooks say in words of the committed `cpu` results is what the records say."""

import json

import pytest

from jahslib.analysis import reported
from jahslib.paths import ROOT
from jahslib.search import logfiles, triallog
from tests.test_readme import record, table

METHODS = ("RS", "EA", "EA-HB", "RE", "BOHB", "Ax")  # of study 08 on trained networks


def mean(text: str) -> float:
    """Of "mean ± deviation"."""
    return float(text.split(" ± ")[0])


def value(notebook: str, name: str):
    return record("cpu", notebook, name)["value"]


def test_01_growing_networks_are_not_ahead():
    assert value("01_growing_bohb", "bohb_test_top1") <= value("01_growing_bohb", "static_test_top1")
    assert "6,000 of 60,000" in value("01_growing_bohb", "profile_note")
    methods = {row["method"]: row for row in table("cpu", "01_growing_bohb", "methods")}
    tested = {name: mean(row["test_top1"]) for name, row in methods.items()}
    assert (
        max(tested.values()) - min(tested.values()) < 0.0105 and min(tested, key=tested.__getitem__) == "BOHB growing"
    )
    growing = ("BOHB growing", "RS growing", "architecture only")
    assert tested["hyperparameters only"] >= max(tested[name] for name in growing)
    sizes = {name: mean(methods[name]["params"]) for name in ("BOHB growing", "RS growing", "BOHB static")}
    assert min(sizes["BOHB growing"], sizes["RS growing"]) > 29_800
    assert sizes["BOHB static"] / sizes["BOHB growing"] == pytest.approx(1 / 2, abs=0.05)


def test_01_one_incumbent_is_next_to_the_reported_one():
    folder = ROOT / "results/cpu/01_growing_bohb"
    found = [json.loads((folder / f"opt_cfg_bohb_seed{seed}.json").read_text()) for seed in range(3)]
    (near,) = [c for c in found if (c["n_conv_layers"], c["n_fc_layers"]) == (4, 0)]
    assert round(near["conv_trigger_threshold"], 3) == 0.128 and round(near["learning_rate_init"], 4) == 0.0104


def test_02_near_on_all_images_and_no_lead_on_a_tenth():
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


def test_02_sizes_ranks_and_widths_beside_the_reported_ones():
    notebook = "02_growing_thresholds"
    sweep = {row["type"]: row for row in table("cpu", notebook, "sweep")}
    share = {q: float(row["params"]) / float(row["reported_params"]) for q, row in sweep.items()}
    assert share["q = 0.3"] < 0.5 and max(share[f"q = 0.{i}"] for i in (4, 5, 6)) < 0.8
    assert abs(float(sweep["q = 0.8"]["params"]) - 6400) < float(sweep["q = 0.8"]["reported_params_sd"])
    (full,) = [row for row in table("cpu", notebook, "full") if row["type"] == "q = 0.8"]
    assert float(full["params"]) / float(full["reported_params"]) == pytest.approx(1.25, abs=0.02)
    files = {"baseline": "baseline_traces", "q = 0.8": "some_traces", "q = 1": "never_traces"}
    for read in reported.load(notebook)["traces"]:
        rows = [row for row in table("cpu", notebook, files[read["type"]]) if row["layer"] == f"conv {read['layer']}"]
        last = max(float(row["step"]) for row in rows)
        column = "width" if read["what"] == "channels" else read["what"]
        ends = [float(row[column]) for row in rows if float(row["step"]) == last]
        within = 0.25 if read["what"] == "channels" else 0.1
        assert abs(sum(ends) / len(ends) / read["end"] - 1) < within, read


def test_03_ahead_on_the_table_with_one_exception_and_not_told_apart_by_training():
    said = value("03_grammar_search", "paired_tables")
    assert "against random: ahead in 6 of 6" in said
    assert "against evolution: ahead in 5 of 6" in said and "not told apart in ImageNet16-120, test error" in said
    trained = value("03_grammar_search", "paired_trained")
    assert trained.count("not told apart in 2 of 2") == 2 and value("03_grammar_search", "n_seeds") == 3


def test_04_ahead_at_every_size_and_most_from_few():
    pairs = table("cpu", "04_surrogate_regression", "pairs")
    differences = {int(row["n_train"]): float(row["difference"]) for row in pairs}
    assert all(float(row["low"]) > 0 for row in pairs)
    assert max(differences, key=lambda n: differences[n]) == value("04_surrogate_regression", "n_smallest")


def test_05_zero_takes_over_with_and_without_prevention_and_fixed_training_beats_both():
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
    best, second, *_ = sorted(found, key=lambda method: -mean(found[method]))
    assert (best, second) == ("re-split", "argmax cell")
    drops = [row["drop"].split(" ± ") for row in table("cpu", "05_darts_bohb", "optimism")]
    assert sum(float(drop) + float(sd) > 0.1 for drop, sd in drops) >= 4
    arms = table("cpu", "05_darts_bohb", "ablation")
    assert sum(mean(row["test_acc"]) > mean(found[best]) for row in arms) == len(arms) - 1 == 8
    ahead = [mean(row["test_acc"]) > mean(fixed) for row in arms if row["cells"] != "uniform, no search"]
    assert len(ahead) == 8 and sum(ahead) >= 7


def test_04_variances_of_the_hierarchical_kernel_fail_from_the_fewest():
    rows = table("cpu", "04_surrogate_regression", "scores_main")
    nll = {(r["model"], r["n_train"]): mean(r["nll"]) for r in rows if r["source"].endswith("-hierarchical")}
    assert nll["hWL", "10"] > 0 > nll["WL", "10"] and all(
        v < 0 for (m, n), v in nll.items() if m == "hWL" and n != "10"
    )


def test_04_on_cells_the_likelihood_of_every_model_leaps_somewhere():
    rows = table("cpu", "04_surrogate_regression", "scores")
    for model in ("WL", "counts"):
        on_cells = [r for r in rows if r["model"] == model and not r["source"].endswith("-hierarchical")]
        assert max(mean(r["nll"]) for r in on_cells) > 10


def test_06_ax_is_second_on_validation_and_last_on_test_as_final_trainings_fail():
    methods = {row["method"]: row for row in table("cpu", "06_ax_bo", "methods")}
    own = ("Ax", "random", "Sobol", "grid", "SMAC")
    by_validation = sorted(own, key=lambda m: mean(methods[m]["val_top1"]))
    assert by_validation[-2] == "Ax" == min(own, key=lambda m: mean(methods[m]["test_top1"]))
    assert {methods[m]["configurations"].split()[0] for m in own if m != "grid"} == {"25"}
    assert methods["grid"]["configurations"] == "24 ± 0"
    random = [float(row["top1"] or 0) for row in table("cpu", "06_ax_bo", "all_trials") if row["method"] == "rs"]
    assert sum(a <= 0.15 for a in random) / len(random) == pytest.approx(0.5, abs=0.05)
    assert sum(a >= 0.7 for a in random) / len(random) == pytest.approx(1 / 6, abs=0.02)
    failing = {}
    for log in logfiles.found(ROOT / "results/cpu/06_ax_bo/logs", "test-*"):
        _, method, _, seed, _ = log.stem.split("-")
        if method in ("ax", "rs", "sobol", "grid", "smac"):
            scores = [t.metrics["top1"] for t in triallog.read(log).trials]
            failing[method, seed] = sum(score < 0.6 for score in scores)
    assert {key: n for key, n in failing.items() if n} == {
        ("ax", "seed0"): 2,
        ("grid", "seed3"): 1,
        ("grid", "seed7"): 1,
    }


def test_06_ax_is_not_told_apart():
    pairs = [row for row in table("cpu", "06_ax_bo", "bootstrap") if not row["pair"].startswith("Ax − Ax")]
    assert {row["pair"] for row in pairs} == {f"Ax − {other}" for other in ("random", "Sobol", "grid", "SMAC")}
    assert all(float(row["low"]) < 0 < float(row["high"]) for row in pairs)


def test_07_neither_random_search_nor_ax_is_behind():
    means = {row["method"]: float(row["test_top3"].split()[0]) for row in table("cpu", "07_constrained_EA", "methods")}
    assert means["EA-HB"] <= min(means["RS"], means["Ax"])
    printed = {row["method"]: row["test_top3"] for row in reported.load("07_constrained_EA")["test"]}
    assert printed["EA-HB"] > printed["RS"]


def test_07_feasible_searches_mcnemar_and_other_limits():
    methods = {row["method"]: row for row in table("cpu", "07_constrained_EA", "methods") if row["method"] != "Default"}
    feasible = {name: int(row["feasible_incumbents"]) for name, row in methods.items()}
    assert feasible == {"EA-HB": 3, "EA": 2, "RS": 3, "BOHB": 3, "Ax": 3}
    for column in ("val_top3", "test_top3"):
        assert max(methods, key=lambda m: mean(methods[m][column])) == "Ax"
    assert min(methods, key=lambda m: mean(methods[m]["test_top3"])) == "EA-HB"
    assert value("07_constrained_EA", "ordering").startswith("Ax (3 of 3, 0.802), BOHB (3 of 3, 0.759), EA-HB (3 of 3")
    share = {name: mean(row["feasible_share"]) for name, row in methods.items()}
    assert share.pop("Ax") > 3 * max(share.values())
    pairs = {row["pair"]: row for row in table("cpu", "07_constrained_EA", "mcnemar")}
    for other in ("EA", "RS", "BOHB"):
        row = pairs[f"EA-HB vs {other}"]
        assert row["significant"] == "True" and int(row["only_first_right"]) > int(row["only_second_right"])
    met = [row["feasible"] for row in table("cpu", "07_constrained_EA", "constraints")]
    assert met == ["True"] + ["False"] * 6


def test_08_who_wins_where_and_why():
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
    center, spread = ({m: float(score[growing, m]["test_error"].split(" ± ")[i]) for m in METHODS} for i in (0, 1))
    assert max(center.values()) - min(center.values()) < min(spread.values())
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
