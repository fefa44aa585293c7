"""What README's table and the notebooks say in words of the committed `cpu` results is what the records say."""

import json
from itertools import combinations

import pandas as pd
import pytest

from jahslib.analysis import reported
from jahslib.paths import ROOT
from jahslib.reporting import trials_table


def record(notebook: str, name: str) -> dict:
    index = json.loads((ROOT / "results" / "cpu" / notebook / "records.json").read_text(encoding="utf-8"))
    return index["records"][name]


def value(notebook: str, name: str):
    return record(notebook, name)["value"]


def numbers(notebook: str, name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "results" / "cpu" / notebook / f"{name}.csv")


def answers(notebook: str) -> list[str]:
    return numbers(notebook, "claims").answer.to_list()


def test_01_growing_networks_are_not_ahead():
    notebook = "01_growing_bohb"
    assert answers(notebook) == ["equal within the margin"] * 2
    first = numbers(notebook, "claims").iloc[0]
    assert [round(100 * first[column], 1) for column in ("difference", "low", "high")] == [-0.2, -0.6, 0.2]
    note = value(notebook, "profile_note")
    assert "6,000 of 60,000" in note and "trained on all images" in note
    methods = numbers(notebook, "methods").set_index("method")
    tested, sizes = methods.test_top1_mean, methods.params_mean
    assert tested.max() - tested.min() < 0.0075 and tested.idxmin() == "RS growing"
    assert tested["hyperparameters only"] > tested.max() - 0.002
    assert tested.loc[["BOHB growing", "BOHB static"]].round(3).to_list() == [0.910, 0.912]
    assert sizes[["BOHB growing", "RS growing"]].min() > 29_800
    seeds = numbers(notebook, "seeds")
    grown = seeds[seeds.method.isin(["BOHB growing", "RS growing", "architecture only"])].params
    assert len(grown) == 15 and (grown < 29_700).sum() == 1
    assert sizes["BOHB static"] / sizes["BOHB growing"] == pytest.approx(6 / 7, abs=0.02)
    assert methods.from_model_mean["BOHB growing"] == pytest.approx(1 / 2, abs=0.05)
    assert methods.from_model_mean["BOHB static"] == pytest.approx(3 / 5, abs=0.02)


def test_01_one_incumbent_is_next_to_the_reported_one():
    folder = ROOT / "results/cpu/01_growing_bohb"
    found = [json.loads((folder / f"opt_cfg_bohb_seed{seed}.json").read_text()) for seed in range(5)]
    (near,) = [c for c in found if (c["n_conv_layers"], c["n_fc_layers"]) == (4, 0)]
    assert round(near["conv_trigger_threshold"], 3) == 0.128 and round(near["learning_rate_init"], 4) == 0.0104


def test_01_the_first_incumbent_is_soon_at_the_limit():
    growth = numbers("01_growing_bohb", "growth")
    assert growth.step.min() == 50 and growth.step.max() == 6000 and growth.params.min() > 29_700


def test_02_near_on_all_images_and_no_lead_on_a_tenth():
    notebook = "02_growing_thresholds"
    full = numbers(notebook, "full")
    assert len(full) == 3 and ((full.accuracy_mean - full.reported_accuracy_mean).abs() < 0.01).all()
    growing = numbers(notebook, "tests").set_index("type").loc["BOHB growing"]
    significance = reported.load(notebook)["significance"]
    assert significance["rejected"] and growing.z_p > significance["alpha"]
    said = numbers(notebook, "claims").set_index("claim").answer
    assert said["The growing incumbent tests better than the baseline"] == "equal within the margin"
    assert said["A lower threshold gives a larger network"] == "reproduced"
    assert "6,000 of 60,000" in value(notebook, "profile_note")
    sweep = numbers(notebook, "sweep").set_index("type")
    sweep = sweep[sweep.index.str.startswith("q = ")]
    assert sweep.params_mean.is_monotonic_decreasing and sweep.accuracy_mean.idxmax() == "q = 0.7"


def test_02_what_is_trained_at_full_scale_is_near_what_is_reported():
    trials = trials_table.load(ROOT / "results" / "trials.csv.xz").query("profile == 'paper'")
    sweep, first = (trials[trials.study == study] for study in ("02_growing_thresholds", "01_growing_bohb"))
    assert len(first) == 5 and set(first.log) == {"reported-baseline"} and set(sweep.split) == {"validation"}
    printed = {
        f"q{row['q']:g}" if row["q"] else row["type"]: row["accuracy"]
        for row in reported.load("02_growing_thresholds")["sweep"]
    }
    found = sweep.metric_top1.groupby(sweep.log.str.split("-").str[0]).mean()
    assert len(found) == 6 and len(printed) == 10
    assert all(abs(accuracy - printed[name]) < 0.01 for name, accuracy in found.items())


def test_02_sizes_ranks_and_widths_beside_the_reported_ones():
    notebook = "02_growing_thresholds"
    sweep = numbers(notebook, "sweep").set_index("type")
    share = sweep.params_mean / sweep.reported_params_mean
    assert share["q = 0.3"] < 0.5 and share[[f"q = 0.{i}" for i in (4, 5, 6)]].max() < 0.8
    assert abs(sweep.params_mean["q = 0.8"] - 6400) < sweep.reported_params_sd["q = 0.8"]
    full = numbers(notebook, "full").set_index("type").loc["q = 0.8"]
    assert full.params_mean / full.reported_params_mean == pytest.approx(1.25, abs=0.02)
    files = {"baseline": "baseline_traces", "q = 0.8": "some_traces", "q = 1": "never_traces"}
    for read in reported.load(notebook)["traces"]:
        rows = numbers(notebook, files[read["type"]]).query(f"layer == 'conv {read['layer']}'")
        column = "width" if read["what"] == "channels" else read["what"]
        ends = rows[rows.step == rows.step.max()][column]
        within = 0.25 if read["what"] == "channels" else 0.1
        assert abs(ends.mean() / read["end"] - 1) < within, read


def test_03_ahead_on_the_table_with_one_exception_and_by_training_on_every_seed():
    notebook = "03_grammar_search"
    pairs = numbers(notebook, "table_pairs").query("measure != 'course'")
    apart = pairs[pairs.told_apart]
    (exception,) = pairs[~pairs.told_apart].itertuples()
    assert len(pairs) == 12 and (apart.leader == apart["first"]).all()
    assert (exception.task, exception.measure) == ("ImageNet16-120", "test_error")
    assert exception.second == "evolution" and value(notebook, "n_seeds") == 5
    trained = numbers(notebook, "trained_pairs").query("measure != 'course'")
    assert len(trained) == 4 and (trained.leader == trained["first"]).all() and (trained.above == 0).all()
    assert not trained.told_apart.any()  # five pairs are too few for the rank test
    assert answers(notebook)[-2:] == ["reproduced"] * 2
    (noise,) = numbers(notebook, "noise").query("metric == 'test_error'").itertuples()
    assert 0.2 < noise.random_median < 0.3 and noise.random_sd > 5 * noise.sd
    assert trained.difference.between(-4, -2.9).all() and trained.high.max() < -100 * noise.sd > -1
    operations = numbers(notebook, "incumbents").groupby("method").operations.mean()
    assert operations["BO, hWL"] < operations.drop("BO, hWL").min() / 2
    tested = numbers(notebook, "trained_methods").set_index("method").test_error_mean
    assert tested["evolution"] > tested["random"]


def test_04_ahead_on_random_architectures_from_every_number_of_them():
    notebook = "04_surrogate_regression"
    pairs = numbers(notebook, "pairs").set_index("n_train")
    assert pairs.index.to_list() == [10, 25, 50, 75, 100] and pairs.told_apart.all()
    assert (pairs.leader == "hWL").all() and pairs.difference.idxmax() == 25
    assert answers(notebook) == [*["reproduced"] * 5, "cannot tell"]


def test_04_the_lead_is_smaller_where_searched_trials_are_in_the_pool():
    pools = numbers("04_surrogate_regression", "pools").set_index(["pool", "n_train"])
    told = pools[pools.told_apart]
    assert pools.index[~pools.told_apart].to_list() == [("without random", n) for n in (10, 25)]
    assert (told.leader == "hWL").all()
    leads = pools.difference.unstack()
    assert (leads.dropna(axis=1).idxmin() == "without random").all()
    random = numbers("04_surrogate_regression", "pairs").set_index("n_train").difference
    assert (leads.loc["all", random.index] < random / 2).all()


def test_05_identity_gains_with_and_without_prevention_and_no_method_beats_a_linear_model():
    notebook = "05_darts_bohb"
    assert value(notebook, "data") == "retinamnist" and set(answers(notebook)) == {"cannot tell"}
    collapse = numbers(notebook, "collapse")
    on_own, on_others = (collapse[collapse.data.str.startswith(data)] for data in ("retinamnist", "fashion_mnist"))
    assert (on_own.leader == "identity").all() and (on_own.leader_seeds == 3).all()
    assert on_own.identity_last_mean.between(0.29, 0.32).all() and (on_own.n == 5).all()
    assert on_own.loss_last_mean.div(on_own.loss_first_mean).gt(0.75).all()
    assert (on_others.leader == "zero").all() and on_others.leader_seeds.to_list() == [4, 5]
    ended = numbers(notebook, "darts")
    assert sorted(ended.epochs[ended.ended != "all epochs"]) == [3, 8, 10]
    trials = numbers(notebook, "trials")
    full = trials[trials.epochs == trials.epochs.max()]
    assert full.groupby(["method", "seed"]).size().between(6, 12).all()
    assert (full.top1 <= 0.4501).mean() == pytest.approx(0.7, abs=0.02)  # the most frequent class's, on validation
    methods, arms = numbers(notebook, "methods").set_index("method"), numbers(notebook, "ablation")
    tested = methods.test_acc_mean
    assert tested.idxmax() == methods.test_acc_sd.idxmin() == "DARTS, random" and tested.idxmin() == "re-split"
    assert value(notebook, "linear_test_acc") > tested.max() > arms.test_acc_mean.max()
    dropped = numbers(notebook, "optimism").set_index("method").drop_mean
    assert dropped.drop("argmax cell").between(0.03, 0.115).all() and dropped["argmax cell"] < 0.01
    most, some = (arms[arms.cells == cells] for cells in ("argmax", "sampled"))
    for measure in ("test_acc_mean", "mflops_mean"):
        assert (most[measure].to_numpy() > some[measure].to_numpy()).all()
    assert arms.params_thousands_mean.between(19, 21).all()
    assert value(notebook, "stopped_untrained") == pytest.approx(1 / 5, abs=0.02)


def test_04_variances_of_the_hierarchical_kernel_fail_on_single_splits_of_searched_trials():
    fits = numbers("04_surrogate_regression", "fits")
    fits = fits[fits.source.str.startswith("nb201_fashion_mnist-hierarchical")]
    medians = fits.groupby(["source", "n_train", "model"]).nll.median().unstack()
    assert (medians.gp_hierarchical < medians.gp + 0.01).all()
    leaps = fits[(fits.model == "gp_hierarchical") & (fits.nll > 5)]
    assert not leaps.source.str.endswith("-random").any() and set(leaps.n_train) == {10, 25}
    assert leaps.groupby(["source", "n_train"]).size().max() <= 2
    counts = fits[fits.source.str.endswith("-hierarchical") & (fits.model == "gp_nasbot") & (fits.n_train <= 25)]
    assert (counts.nll > 0).mean() > 0.5


def test_04_on_cells_the_likelihood_of_every_model_leaps_somewhere():
    rows = numbers("04_surrogate_regression", "scores")
    on_cells = rows[~rows.source.str.endswith("-hierarchical")].groupby("model").nll_mean.max()
    assert (on_cells[["WL", "counts"]] > 10).all()


def test_06_ax_is_level_with_random_search_and_behind_the_others_on_mnist():
    notebook, own = "06_ax_bo", ["Ax", "random", "Sobol", "grid", "SMAC"]
    assert value(notebook, "data") == "mnist, cifar10-rebuilt"
    order, _ = value(notebook, "ordering")
    assert [order["leader"], *order["behind"]] == ["grid", "SMAC", "Sobol", "random", "Ax"]
    assert answers(notebook)[:4] == ["equal within the margin", "cannot tell", "contradicted", "cannot tell"]
    claims = numbers(notebook, "claims")
    assert claims.difference[1:4].between(-0.0115, -0.0085).all() and claims.p_holm.min() > 0.3
    methods = numbers(notebook, "methods").query("task == 'mnist'").set_index("method")
    medians = methods.test_top1_median.loc[own]
    assert medians.max() - medians.min() < 0.005
    seeds = numbers(notebook, "seeds").query("task == 'mnist' and method in @own")
    assert seeds[seeds.test_top1 < 0.945].method.value_counts().to_dict() == {
        "Ax": 3,
        "random": 2,
        "Sobol": 1,
        "SMAC": 1,
    }
    assert (methods.configurations_mean.loc[own] == [25, 25, 25, 24, 25]).all()
    assert value(notebook, "replaced") == pytest.approx(1 / 2, abs=0.05)


def test_06_on_cifar_10_ax_leads_by_little():
    notebook = "06_ax_bo"
    _, order = value(notebook, "ordering")
    means = [method["mean"] for method in order["methods"]]
    assert order["leader"] == "Ax" and max(means) - min(means) < 0.01 and max(means) == pytest.approx(2 / 5, abs=0.02)
    assert answers(notebook)[4:] == ["cannot tell", "cannot tell", "reproduced", "cannot tell"]
    grid = numbers(notebook, "claims").iloc[6]
    assert "grid" in grid.claim and grid.n == 5 and grid.difference == pytest.approx(0.008, abs=5e-4)
    top1 = numbers(notebook, "all_trials").query("task == 'cifar10-rebuilt'")
    random = top1[top1.method == "rs"].top1.fillna(0)
    assert (random >= top1.top1.max() - 0.035).mean() < 0.01


def test_06_what_random_configurations_and_large_steps_give():
    trials = numbers("06_ax_bo", "all_trials").query("task == 'mnist'")
    random = trials[trials.method == "rs"].top1.fillna(0)
    assert (random <= 0.15).mean() == pytest.approx(2 / 5, abs=0.04)
    assert (random >= trials.top1.max() - 0.035).mean() == pytest.approx(1 / 7, abs=0.02)
    steps = trials.lr / (1 - trials.momentum)
    large = trials[steps.between(0.2, 0.4)].top1
    assert large.max() == trials.top1.max() and large.quantile(0.25) == pytest.approx(large.max() - 0.04, abs=0.003)
    seeds = numbers("06_ax_bo", "seeds").query("task == 'mnist' and method == 'Ax'").set_index("seed")

    def step(method: str, seed: int) -> float:
        (file,) = (ROOT / "results/cpu/06_ax_bo").glob(f"opt_cfg_{method}_mnist_seed{seed}.json")
        found = json.loads(file.read_text())
        return found["lr"] / (1 - found["momentum"])

    assert all(0.2 < step("ax", seed) < 0.4 for seed in seeds.index[seeds.test_top1 < 0.945])
    ax, smac = (sum(step(method, seed) for seed in range(10)) / 10 for method in ("ax", "smac"))
    assert ax < smac


def test_07_no_method_is_told_from_another_on_test_data():
    notebook = "07_constrained_EA"
    means = numbers(notebook, "methods").set_index("method").test_top3_mean
    assert means["EA-HB"] == means.min() and means["EA-HB mended"] == means.max()
    printed = {row["method"]: row["test_top3"] for row in reported.load(notebook)["test"]}
    assert printed["EA-HB"] > printed["RS"]
    assert answers(notebook) == ["cannot tell", "cannot tell", "reproduced", "cannot tell", "cannot tell"]
    noise = value(notebook, "training_noise")
    assert 0.03 < noise < 0.04
    assert sum(abs(a - b) < noise for a, b in combinations(means, 2)) > len(means) * (len(means) - 1) / 4


def test_07_feasible_searches_mcnemar_and_other_limits():
    notebook = "07_constrained_EA"
    methods = numbers(notebook, "methods").set_index("method")
    found = {"EA-HB": 5, "EA": 4, "EA-HB mended": 6, "EA mended": 6, "RS": 6, "BOHB": 4, "Ax": 6}
    assert methods.feasible_incumbents.to_dict() == found and set(methods.n) == {6}
    (order,) = value(notebook, "ordering")
    by_mean = ["Ax", "EA-HB mended", "EA mended", "RS", "EA-HB", "BOHB", "EA"]
    assert [order["leader"], *order["behind"]] == by_mean and order["told_apart"] == []
    share = methods.feasible_share_mean
    assert share[["Ax", "EA-HB mended", "EA mended"]].between(0.4, 0.6).all()
    assert share[["EA-HB", "EA", "RS"]].between(1 / 14, 1 / 12).all()
    pairs = numbers(notebook, "mcnemar").set_index("pair")
    for other in ("EA", "EA mended", "RS", "BOHB"):
        row = pairs.loc[f"EA-HB vs {other}"]
        assert row.significant and row.only_first_right > row.only_second_right
    tested = numbers(notebook, "seeds").pivot(index="seed", columns="method", values="test_top3")
    assert tested["EA-HB"].idxmax() == 0
    far_below = tested.stack()[lambda found: found < found.median() - 0.15]
    assert sorted(far_below.index) == [(1, "EA-HB"), (42, "EA mended"), (42, "EA-HB")]
    assert (tested.rank(axis=1).loc[[1, 42], "EA-HB"] <= 2).all()
    assert numbers(notebook, "constraints").feasible.to_list() == [True] + [False] * 6


def test_08_who_leads_where():
    """Those of the notebook's "What `cpu` showed" too."""
    notebook = "08_head_to_head"
    leaders = numbers(notebook, "leaders").set_index(["family", "method"])
    verdicts = leaders.verdict
    assert verdicts["lcbench", "ax"] == "leads" and verdicts["lcbench", "optuna_gp"] == "not told apart"
    assert (verdicts["lcbench"].drop(["ax", "optuna_gp"]) == "behind").all()
    choices = numbers(notebook, "choices").set_index("family")
    assert choices.early["lcbench"] == "NePS Hyperband"
    told = numbers(notebook, "tests").set_index("family").told_apart  # by ranks
    assert told[["cells", "hpolib", "mlp", "constrained_cnn", "growing_convnet"]].to_list() == [1, 4, 0, 0, 0]
    changes = numbers(notebook, "curves").query("family == 'lcbench'")
    course = changes.pivot(index="share", columns=["method", "seed"], values="score").ffill().T.groupby(level=0).mean()
    processes = {"ax", "optuna_gp", "neps_bo"}
    assert all(set(course[share].nsmallest(3).index) == processes for share in course if share > 0.49)
    assert all(course[share].idxmin() == "ax" for share in course if share > 0.29)
    assert course[0.25].nsmallest(2).index.to_list() == ["neps_hyperband", "bohb"]
    means = numbers(notebook, "standings").set_index(["family", "method"]).score_mean
    order = {family: means[family].sort_values().index.to_list() for family in means.index.levels[0]}
    assert order["lcbench"][:6] == ["ax", "optuna_gp", "neps_bo", "bohb", "ea_hb", "smac_mf"]
    assert means["lcbench", "neps_bo"] < 0
    assert order["hpolib"][:3] == ["ax", "optuna_gp", "neps_bo"] and order["cells"][:3] == [
        "grammar",
        "ax",
        "optuna_tpe",
    ]
    for family in ("lcbench_floor", "lcbench_limit"):
        assert order[family][:2] == ["ax", "ea_hb"]
        assert (verdicts[family].drop(["ax", "ea_hb"]) == "behind").all() and "bohb" not in order[family]
    assert verdicts["lcbench_floor", "ea_hb"] == "behind" and verdicts["lcbench_limit", "ea_hb"] == "not told apart"
    for family in ("cells", "hpolib"):
        assert (verdicts[family].drop(order[family][0]) == "cannot tell").all()
    assert verdicts["constrained_cnn", "ax"] == "leads" and set(verdicts["constrained_cnn"].drop("ax")) == {"behind"}
    grown = leaders.loc["growing_convnet"]
    assert set(grown.index[grown.verdict == "not told apart"]) == {"ea_hb", "published_ea", "published_ea_hb"}
    assert grown.verdict["ea"] == "leads" and grown[grown.verdict == "behind"].difference.between(0.005, 0.01).all()
    mlp = verdicts["mlp"]
    assert mlp["optuna_gp"] == "leads"
    assert set(mlp[mlp == "not told apart"].index) == {"ax", "optuna_tpe", "bohb", "neps_evolution"}
    pairs = numbers(notebook, "against").query("reference == 'ea_hb'").set_index(["family", "method"])
    behind = pairs.loc["lcbench"]
    told = ["dehb", "optuna_hyperband", "neps_hyperband", "syne_tune_asha", "optuna_tpe", "ax"]
    assert behind.ahead[told].to_list() == [0, 0, 2, 4, 6, 19]
    assert (behind.low[["bohb", "smac_mf"]] < 0).all() and (behind.high[["bohb", "smac_mf"]] > 0).all()
    for family, ahead in {"lcbench_floor": [1, 5], "lcbench_limit": [0, 4]}.items():
        assert pairs.loc[family].ahead[["rs", "optuna_tpe"]].to_list() == ahead
    found = numbers(notebook, "claims").set_index("claim").answer
    assert found.value_counts().to_dict() == {"reproduced": 4, "cannot tell": 3, "contradicted": 1}
    assert found["EA-HB has a lower regret than Ax"] == "contradicted"
    assert found["Ax has a lower regret than Optuna GP"] == "cannot tell"
    feasible = numbers(notebook, "feasibility").query("family == 'constrained_cnn'").set_index("method").feasible
    assert feasible["ax"] == 1 and feasible.drop("ax").between(0.4, 0.6).all()
    assert feasible[["ea", "ea_hb"]].to_list() == [0.5, 0.5] and "640 epochs a search instead of 1,200" in value(
        notebook, "profile_note"
    )
    workers = numbers(notebook, "workers").query("workers == 4").set_index("method")
    assert workers.speedup_mean.drop("ea_hb").between(2.7, 4).all()
    assert workers.speedup_mean["ea_hb"] == pytest.approx(6, abs=0.1) and workers.busy_mean.max() < 1
