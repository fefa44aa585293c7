"""Study 08: every method on the same problems, and what is computed from its logs."""

import numpy as np
import pandas as pd
import pytest

from jahslib import studies
from jahslib.analysis.statistics import Ranking
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.errors import UserError
from jahslib.experiments.notebook import experiment
from jahslib.problems.cells import nasbench201
from jahslib.problems.cells.cell_edges import CellEdges
from jahslib.problems.cells.synthetic_cells import SyntheticCells
from jahslib.reporting.report import Report
from jahslib.studies import head_to_head as study
from jahslib.studies import head_to_head_results as results


def options(**given):
    return study.options(**{"profile": "smoke", "device": "cpu"} | given)


def cells(val, test=None, *, method="rs", seed=0, epochs=1.0):
    """A finished search of the synthetic cells with these errors."""
    history = History()
    for i, error in enumerate(val):
        suggestion = Suggestion({"trial": i}, 1)
        id = history.ask(suggestion)
        metrics = {"val_error": error, "test_error": error if test is None else test[i], "connected": 1.0}
        history.finish(
            Trial(**vars(suggestion), id=id, metrics=metrics, epochs=epochs, elapsed=6.0 * (id + 1), asked=id + 1)
        )
    return study.Search(method, seed, history, CellEdges(SyntheticCells()), "synthetic-cells")


def found(rows):
    """A table of errors from (task, method, seed, feasible, error) rows."""
    columns = ["task", "method", "seed", "feasible", "test_error"]
    return pd.DataFrame(rows, columns=columns).assign(val_error=lambda t: t.test_error)


class TestOptions:
    @pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
    def test_every_profile_resolves_with_a_budget_for_every_task(self, profile):
        o = options(profile=profile)
        assert len(o.seeds) >= (2 if profile == "smoke" else 10) and o.methods == tuple(study.METHODS)

    def test_every_optimizer_meets_every_task_that_admits_it(self):
        o = options()
        assert set(study.admitted(o, "synthetic-cells")) == set(study.METHODS) - {"ea_hb"}
        assert set(study.admitted(o, "growing_convnet")) == set(study.METHODS) - {"grammar"}
        keys = study.keys(o)
        assert len(keys) == len(set(keys)) == 2 * (6 + 6 + 6)

    def test_all_methods_of_a_task_and_seed_share_problem_constraints_and_budget(self):
        runs = [r for r in study.searches(options()) if r.log.name.startswith("constrained_cnn") and r.seed == 1]
        assert len({r.method for r in runs}) == 6 and len({r.budget for r in runs}) == 1
        described = [r.problem.describe() for r in runs]
        assert all(d == described[0] for d in described) and len(runs[0].problem.constraints) == 2

    def test_problems_are_those_of_their_studies(self):
        o = options()
        run = next(
            r for r in experiment("07_constrained_EA", {"profile": "smoke", "seeds": [1]}).plan if r.method == "ax"
        )
        assert study.problem(o, "constrained_cnn", "bohb", 1).describe() == run.problem.describe()
        assert study.test_problem(o, "constrained_cnn").describe() == run.tested.describe()
        own = experiment("01_growing_bohb", {"profile": "smoke", "device": "cpu"}).METHODS["bohb"].problem
        assert study.problem(o, "growing_convnet", "ax", 1).describe() == own.describe()

    def test_incumbents_are_tested_on_the_test_split_alone(self):
        o = options()
        assert {study.test_problem(o, task).split for task in study.TRAINED} == {"test"}
        assert {r.problem.split for r in study.searches(o) if hasattr(r.problem, "split")} == {"validation"}

    def test_the_grammar_and_the_choices_have_the_same_evaluations(self):
        o = options()
        assert isinstance(study.problem(o, "synthetic-cells", "grammar", 0), SyntheticCells)
        assert study.problem(o, "synthetic-cells", "rs", 0).cells == SyntheticCells()

    @pytest.mark.parametrize(("evaluations", "size"), [(3, 4), (37, 7), (100, 20), (1200, 50)])
    def test_populations_follow_the_budget(self, evaluations, size):
        assert study.population(evaluations) == size

    def test_settings_go_to_the_optimizer(self):
        o = options(settings={"ea": {"pop_size": 9}, "ax": {"n_init": 3}})
        made = {r.method: r.optimizer for r in study.searches(o) if r.seed == 0}
        assert made["ea"].pop_size == 9 and made["ax"].n_init == 3

    def test_changes_to_a_studys_options_reach_its_problem(self):
        o = options(constrained_cnn={"max_epochs": 7})
        assert study.problem(o, "constrained_cnn", "rs", 0).fidelity.high == 7

    def test_without_the_table_the_made_up_value_stands_in_and_is_named(self, monkeypatch):
        monkeypatch.setattr(nasbench201, "at_hand", lambda: False)
        o = options(profile="cpu")
        assert o.tasks == (*study.TRAINED, "synthetic-cells") and "made-up" in o.note

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"methods": ["smac"]}, "methods: 'smac'"),
            ({"tasks": ["cifar"]}, "tasks: 'cifar'"),
            ({"tasks": []}, "tasks: none"),
            ({"methods": []}, "methods: none"),
            ({"methods": ["grammar"]}, "methods: grammar does not work on constrained_cnn; add one such as rs"),
            ({"growing_convnet": {"per_class": 2}}, "per_class: 2 images a class for 3 folds"),
            ({"seeds": []}, "seeds: none"),
            ({"settings": {"axe": {}}}, "settings: 'axe'"),
            ({"settings": {"bohb": {"eta": 2.5}}}, "eta=2.5 is no whole number; give 2 or more"),
            ({"epochs": {"cells": 5}}, "epochs: none for constrained_cnn"),
            ({"epochs": {"cell": 5}}, "epochs: 'cell'"),
            ({"constrained_cnn": {"max_epoch": 3}}, "did you mean 'max_epochs'"),
        ],
    )
    def test_refuses_what_cannot_work_before_anything_is_written(self, bad, said, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        with pytest.raises(UserError, match=said):
            studies.check(study.NOTEBOOK, {"profile": "smoke", "device": "cpu"} | bad)
        assert not list(tmp_path.iterdir())

    def test_a_budget_below_one_full_training_is_named(self, monkeypatch):
        o = options(tasks=["synthetic-cells"], methods=["rs"], seeds=[0])
        with pytest.raises(UserError, match="epochs: rs on synthetic-cells with seed 0 finished no full training"):
            study.finished(o, {"synthetic-cells-rs-seed0": History()})


class TestResults:
    def test_errors_are_of_the_incumbent_by_validation(self):
        table = results.errors([cells([0.5, 0.2, 0.4], [0.1, 0.3, 0.2])], {})
        assert table.loc[0, ["val_error", "test_error", "feasible"]].tolist() == [0.2, 0.3, True]

    def test_of_a_trained_task_the_test_error_is_the_mean_of_its_final_trainings(self):
        o = options()
        task = study.problem(o, "growing_convnet", "rs", 0)
        history = History()
        suggestion = Suggestion({"learning_rate_init": 0.01}, 3)
        id = history.ask(suggestion)
        history.finish(Trial(**vars(suggestion), id=id, metrics={"top1": 0.75, "params": 9.0}, epochs=3, asked=1))
        own = study.Search("rs", 0, history, task, "growing_convnet")
        finals = {("growing_convnet", "rs", 0): [Trial({}, 3, metrics={"top1": a}) for a in (0.5, 0.7)]}
        row = results.errors([own], finals).iloc[0]
        assert (row.val_error, row.test_error) == pytest.approx((0.25, 0.4))

    def test_in_a_curve_an_infeasible_incumbent_has_the_worst_error(self):
        own = cells([0.2, 0.4, 0.3])
        own.history.trials[0].metrics["connected"] = 0.0
        curve = results.curves(options(tasks=["synthetic-cells"]), [own])
        assert curve.error.tolist() == [1.0, 0.4, 0.3] and curve.epochs.tolist() == [1, 2, 3]

    def test_rungs_are_compared_over_all_promotions_of_a_method(self):
        searches = []
        for seed, (low, high) in enumerate([([0.6, 0.5, 0.4], [0.5, 0.3]), ([0.7], [0.6])]):
            own = cells(low, seed=seed, method="bohb")
            for parent, error in enumerate(high):
                suggestion = Suggestion({"trial": parent}, 3, parent=parent)
                id = own.history.ask(suggestion)
                own.history.finish(Trial(**vars(suggestion), id=id, metrics={"val_error": error}, asked=id + 1))
            searches.append(own)
        (row,) = results.rungs_table(options(), [*searches, cells([0.1])]).to_dict("records")
        assert (row["method"], row["epochs"], row["next_epochs"], row["n"], row["tau"]) == ("BOHB", 1, 3, 3, 1.0)

    def test_a_search_without_anything_feasible_comes_last(self):
        table = found([("t", m, 0, m != "a", e) for m, e in (("a", 0.1), ("b", 0.2), ("c", 0.3))])
        ranks = results.blocks(table, "abc", "test_error").rank(axis=1).iloc[0]
        assert ranks.to_dict() == {"a": 3, "b": 1, "c": 2}

    def test_blocks_are_tasks_and_seeds_that_all_methods_share(self):
        rows = [(t, m, s, True, 0.1) for t in ("x", "y") for s in (0, 1) for m in ("rs", "ea")]
        table = results.blocks(found([*rows, ("x", "ax", 0, True, 0.2)]), ("rs", "ea", "ax"), "test_error")
        assert len(table) == 1 and list(table) == ["rs", "ea", "ax"]

    def test_rankings_are_of_all_tasks_and_of_each_kind_with_its_own_methods(self):
        rng = np.random.default_rng(0)
        rows = [
            (task, m, s, True, rng.random())
            for task, extra in (("growing_convnet", "ea_hb"), ("cifar10", "grammar"))
            for m in (*study.COMMON, extra)
            for s in range(3)
        ]
        ranked = results.rankings(found(rows))
        assert [r.blocks for r in ranked.values()] == [6, 3, 3]
        assert [len(r.ranks) for r in ranked.values()] == [5, 6, 6]

    def test_what_nemenyi_tells_apart_is_said_from_the_better_one(self):
        pairs = pd.DataFrame(1.0, index=["rs", "ea", "ax"], columns=["rs", "ea", "ax"])
        ranks = pd.Series({"rs": 2.9, "ea": 2.0, "ax": 1.1})
        assert results.told_apart(Ranking(9, ranks, 0.5, pairs)) == "none"
        pairs.loc["ax", ["rs", "ea"]] = pairs.loc[["rs", "ea"], "ax"] = 0.01
        assert results.told_apart(Ranking(9, ranks, 0.01, pairs)) == "Ax from EA, RS"

    def test_a_kind_without_tasks_has_no_p_value(self):
        searches = [cells([0.1 * (i + s)], method=m, seed=s) for i, m in enumerate(study.COMMON) for s in (1, 2)]
        record = Report(study.NOTEBOOK, "smoke")
        o = options(tasks=["synthetic-cells"])
        results.record_values(record, o, searches, results.errors(searches, {}))
        made = {name: r["value"] for name, r in record._records.items() if r["kind"] == "value"}
        assert made["trained_networks_friedman"] == made["feasible_shares"] == made["rung_agreement"] == "none"
        assert 0 < made["cells_of_the_table_friedman"] < 1

    def test_differences_are_paired_by_seed_and_corrected_over_all_rows(self):
        seeds = range(12)
        rows = [("cifar10", "rs", s, True, 0.1 * s) for s in seeds]
        rows += [("cifar10", "ea", s, True, 0.1 * s - 0.05) for s in seeds]
        rows += [("cifar10", "re", s, True, 0.1 * s + 0.01 * (-1) ** s) for s in seeds]
        table = results.against_table(options(tasks=["cifar10"]), found(rows)).set_index("pair")
        ahead, alike = table.loc["EA − RS"], table.loc["RE − RS"]
        assert ahead.difference == -0.05 and ahead.high < 0 and ahead.p_holm == pytest.approx(2 * ahead.p, abs=1e-3)
        assert alike.low < 0 < alike.high and alike.p_holm > 0.5

    def test_the_winner_and_those_not_told_from_it(self):
        rows = [("cifar10", m, s, True, e + 0.1 * s) for s in range(10) for m, e in (("rs", 0.3), ("ea", 0.1))]
        rows += [("cifar10", "re", s, True, 0.11 + 0.1 * s + 0.05 * (-1) ** s) for s in range(10)]
        row = results.winners_table(options(tasks=["cifar10"]), found(rows)).iloc[0]
        assert (row.best, row.mean_rank, row.not_told_apart) == ("EA", 1.5, "RE")

    def test_few_good_incumbents_do_not_win_over_many_feasible_ones(self):
        rows = [("cifar10", m, s, m == "ax" or s < 1, e) for s in range(10) for m, e in (("rs", 0.1), ("ax", 0.2))]
        row = results.winners_table(options(tasks=["cifar10"]), found(rows)).iloc[0]
        assert (row.best, row.feasible, row.not_told_apart) == ("Ax", 10, "none")

    def test_scores_leave_infeasible_incumbents_out_and_count_the_others(self):
        good, bad = cells([0.2], seed=0), cells([0.1], seed=1)
        bad.history.trials[0].metrics["connected"] = 0.0
        searches = [good, bad]
        row = results.scores_table(options(), searches, results.errors(searches, {})).iloc[0]
        assert (row.n, row.feasible, row.val_error) == (2, 1, "0.200")
        assert row.feasible_share == "50.0 ± 70.7"

    def test_proposals_are_averaged_by_task_and_method(self):
        costs = pd.DataFrame(
            [{"task": "t", "method": m, "a_proposal": s} for m, s in (("rs", 0.1), ("rs", 0.3), ("ax", 2.0))]
        )
        row = results.proposals_table(options(), costs).iloc[0]
        assert row.rs == pytest.approx(0.2) and row.ax == 2.0 and np.isnan(row.ea)

    def test_a_claim_that_does_not_hold_stops_the_notebook(self):
        o = options(tasks=["synthetic-cells"])
        results.check_claims(o, [cells([0.5])], {})
        with pytest.raises(AssertionError, match="overspent"):
            results.check_claims(o, [cells([0.5, 0.4], epochs=50.0)], {})
        with pytest.raises(AssertionError, match="1 final trainings"):
            results.check_claims(
                options(tasks=["synthetic-cells"], final_seeds=2), [cells([0.5])], {("t", "rs", 0): [Trial({}, 1)]}
            )
