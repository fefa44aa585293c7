"""Study 03: its options, its searches, its tables."""

from unittest.mock import Mock

import numpy as np
import pytest

from jahslib import studies
from jahslib.core.problem import Job
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.data import places
from jahslib.errors import UserError
from jahslib.problems.cells import nasbench201
from jahslib.problems.cells.synthetic_cells import NOISE, SyntheticCells
from jahslib.problems.function import Function
from jahslib.search import Budget, search
from jahslib.search.runs import run_all
from jahslib.studies import grammar_search as study
from jahslib.studies import grammar_search_results as results


def options(**given):
    return study.options(**{"profile": "smoke", "device": "cpu"} | given)


def searched(errors, method="gp", seed=0, test=None):
    """A search on the made-up table with these validation errors; the test error is 0.1 more unless given."""
    history = History()
    for i, error in enumerate(errors):
        id = history.ask(Suggestion({"architecture": f"{method} {i}"}, 1))
        metrics = {} if error is None else {"val_error": error, "test_error": (test or {}).get(i, error + 0.1)}
        status = "failed" if error is None else "ok"
        trial = Trial({"architecture": f"{method} {i}"}, 1, id=id, status=status, metrics=metrics, epochs=1)
        history.finish(trial)
    return study.Search(method, seed, history, SyntheticCells())


class TestOptions:
    @pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
    def test_every_profile_resolves(self, profile):
        o = options(profile=profile)
        assert o.profile == profile and len(o.generations) == 2

    def test_the_paper_profile_is_the_originals_scale(self):
        o = options(profile="paper")
        assert (o.seeds, o.max_evaluations_total, o.n_init, o.pool_size) == ((777, 888, 999), 100, 10, 200)
        assert (o.p_self_crossover, o.pop_size, o.tournament_size, o.log) == (0.5, 30, 10, True)
        assert len(o.objective) == 5 and set(o.surrogate_model) == {"gp_hierarchical", "gp"}

    def test_one_value_stands_for_several_and_the_originals_names_of_spaces_are_known(self):
        o = options(searcher="random_search", search_space="variable_multi_multi", objective="nb201_cifarTile")
        assert (o.searcher, o.search_space, o.objective) == (
            ("random_search",),
            ("hierarchical",),
            ("nb201_cifarTile",),
        )
        assert options(search_space=["nb201_fixed_1_none", "shared"]).search_space == ("cell-based", "shared")

    def test_without_the_table_the_made_up_value_stands_in_and_is_named(self, monkeypatch):
        monkeypatch.setattr(nasbench201, "at_hand", lambda: False)
        o = options(profile="cpu")
        assert o.tables == (study.SYNTHETIC,) and "not at hand" in o.note
        assert options(profile="cpu", tables="cifar10").tables == ("cifar10",)  # asked for, so not replaced

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"searcher": "grid"}, "searcher: 'grid' is unknown; choose from random_search"),
            ({"surrogate_model": ["rf"]}, "surrogate_model: 'rf' is unknown"),
            ({"objective": "mnist"}, "objective: 'mnist' is unknown"),
            ({"search_space": "darts"}, "search_space: 'darts' is unknown"),
            ({"tables": "mnist"}, "tables: 'mnist' is unknown"),
            ({"generations": (3,)}, "generations: .* give the least and the most"),
            ({"seeds": ()}, "seeds: none given"),
            ({"objective": ()}, "objective: none given"),
            ({"objective": "act_cifar10", "search_space": "shared"}, "'shared' is unknown; choose from activation"),
            ({"search_space": "act_cifar10"}, "search_space: none of nb201_addNIST's is among those given; choose"),
            ({"data": {"addNIST": "digits"}}, "data: 'addNIST' is unknown; choose from nb201_cifar10"),
            ({"acquisition": "UCB"}, "acquisition is 'UCB' .*; expected one of 'EI'"),
            ({"data_path": "nowhere"}, "data_path: no folder nowhere"),
            ({"tables": ()}, "tables: none given"),
            ({"table_seeds": ()}, "table_seeds: none given"),
            ({"pool_sizes": 3}, "did you mean 'pool_size'"),
        ],
    )
    def test_refuses_bad_options(self, bad, said):
        with pytest.raises(UserError, match=said):
            options(**bad)

    @pytest.mark.parametrize(
        ("bad", "said"),
        [({"pool_size": 1}, "pool_size=1"), ({"training": {"n_train": 0}}, "n_train: 0 images")],
    )
    def test_refuses_what_cannot_work_before_anything_is_written(self, bad, said, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        with pytest.raises(UserError, match=said):
            studies.check(study.NOTEBOOK, {"profile": "smoke", "device": "cpu"} | bad)
        assert not list(tmp_path.iterdir())


class TestSearches:
    def test_every_searcher_on_every_table_and_space_with_every_seed(self):
        o = options(surrogate_model=("gp", "gp_hierarchical"), search_space=("hierarchical", "cell-based"))
        on_tables, trained = list(study.table_searches(o)), list(study.training_searches(o))
        assert len(on_tables) == 3 * 2  # on a cell the two surrogates are one
        assert len(trained) == 4 * 2 * 1
        assert len({r.log for r in (*on_tables, *trained)}) == 14

    def test_options_reach_the_optimizer(self):
        o = options(pool_strategy="mutation", mutate_size=3, log=False, maximum_noise=0.1, original_selection=True)
        made = study.optimizer(o, "gp", SyntheticCells(), 7, 100)
        assert (made.pool_strategy, made.mutate_size, made.log_objective) == ("mutation", 3, False)
        assert (made.maximum_noise, made.original_selection, made.seed) == (0.1, True, 7)

    @pytest.mark.parametrize(("evaluations", "pop", "drawn"), [(100, 30, 10), (30, 10, 3), (6, 2, 2)])
    def test_a_short_evolution_has_a_small_population(self, evaluations, pop, drawn):
        made = study.optimizer(options(), "regularized_evolution", SyntheticCells(), 0, evaluations)
        assert (made.pop_size, made.tournament_size) == (pop, drawn)

    def test_an_objective_with_a_space_of_its_own_is_searched_over_that(self):
        o = options(objective=("nb201_addNIST", "act_cifar10", "darts_cifar10"), searcher="random_search")
        names = [run.log.stem for run in study.training_searches(o)]
        assert names == [
            "random_search-nb201_addNIST-hierarchical-seed777",
            "random_search-act_digits-activation-seed777",
            "random_search-darts_digits-darts-cells-seed777",
        ]
        assert options(objective="act_cifar10", search_space="act_cifar10").search_space == ("activation",)

    def test_other_images_are_in_the_name(self):
        p = study.problem(options(data="digits"), "nb201_cifarTile", "shared")
        assert (p.name, p.data, p.shape["channels"], len(p.mean)) == ("nb201_digits", "digits", 1, 1)
        p = study.problem(options(data={"act_cifar10": "mnist5k"}), "act_cifar10", "activation")
        assert (p.name, p.data) == ("act_mnist5k", "mnist5k")
        assert study.problem(options(), "nb201_addNIST", "shared").name == "nb201_addNIST"

    @pytest.mark.parametrize("objective", ["act_cifar10", "darts_cifar10"])
    def test_networks_of_it_are_trained_and_tabled(self, objective, tmp_path):
        o = options(
            objective=objective,
            searcher=("random_search", "bayesian_optimization"),
            max_evaluations_total=4,
            n_init=3,
            pool_size=6,
            generations=(1, 2),
            working_directory=str(tmp_path),
        )
        study.check(o)
        runs = list(study.training_searches(o))
        found = study.finished(iter(runs), run_all(runs))
        assert sorted(log.parent for log in study.log_files(o)) == [tmp_path / "logs"] * 2
        assert [len(s.history) for s in found] == [4, 4] and all(s.incumbent.status == "ok" for s in found)
        assert results.trained_methods(found).evaluations.tolist() == [4, 4]
        assert results.incumbents_table(found).operations.between(1, 16).all()  # tails are none
        results.check_claims(o, [], found)

    def test_the_data_folder_by_the_originals_name(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_DATA", "before")
        options(data_path=str(tmp_path))
        assert places.places()[0] == ("JAHSLIB_DATA", tmp_path)


class TestResults:
    def test_the_course_is_the_mean_of_the_incumbents_error_and_failures_are_the_worst(self):
        table = results.table_methods([searched([None, 0.5, 0.7, 0.3])])
        assert table.course[0] == f"{100 * np.mean([1.0, 0.5, 0.5, 0.3]):.2f}"

    def test_the_test_error_is_that_of_the_incumbent_and_not_the_best_seen(self):
        table = results.table_methods([searched([0.5, 0.3, 0.4], test={0: 0.2, 1: 0.6, 2: 0.25})])
        best = 100 * SyntheticCells().best_test()
        assert table.test_error[0] == "60.00" and table.regret[0] == f"{60 - best:.2f}"

    def test_agreement_is_between_what_searches_see_and_what_they_are_judged_by(self):
        (row,) = results.agreement_table(options()).itertuples()
        errors = SyntheticCells().errors()
        seen_best = errors.sort_values("val_error").test_error.iloc[0]
        assert row.cells == 15_284 and 0 < row.tau_best < row.tau < 1
        assert row.reachable == pytest.approx(100 * seen_best, abs=0.01) and row.reachable >= row.best_test
        assert row.rank == 1 + sum(errors.test_error < seen_best)

    def test_curves_begin_with_the_first_that_succeeded(self):
        rows = results.curves([searched([None, 0.5, 0.7, 0.3])])
        assert rows.evaluations.tolist() == [2, 3, 4] and rows.val_error.tolist() == [0.5, 0.5, 0.3]

    def test_pairs_are_by_seed_and_negative_where_bayesian_optimisation_is_ahead(self):
        found = []
        for seed in range(8):
            found += [
                searched([0.5, 0.2 + seed / 100], "gp", seed),
                searched([0.5, 0.3 + seed / 100], "random_search", seed),
            ]
        pairs = results.paired_table(found).set_index("metric")
        assert pairs.difference["val_error"] == pairs.difference["test_error"] == pytest.approx(-10)
        assert pairs.p["val_error"] < 0.05 and pairs.high["val_error"] < 0
        assert "against random: ahead in 2 of 2 comparisons (p ≤ 0.0078)" in results.verdicts(found)
        record = Mock()
        results._add_share(record, "share", found)
        assert record.value.call_args.args[:2] == ("share", 1) and record.value.call_args.kwargs["text"] == "2 of 2"

    def test_equal_methods_are_not_told_apart(self):
        found = [searched([0.5], m, seed) for m in ("gp", "random_search") for seed in range(5)]
        assert "not told apart" in results.verdicts(found)
        assert "ahead" not in results.verdicts(found) and "behind" not in results.verdicts(found)

    def test_a_repeated_configuration_fails_the_claims(self):
        s = searched([0.5, 0.4])
        s.history.trials[1].configuration["architecture"] = "gp 0"
        with pytest.raises(AssertionError, match="evaluated a configuration twice"):
            results.check_claims(options(table_evaluations=2), [s], [])

    def test_sizes_of_the_example_grammars(self):
        sizes = results.spaces_table().set_index("space")
        assert sizes.terms["activation"] == "393,762,525" and sizes.terms["hierarchical"] == ""


class TestSyntheticCells:
    def test_noise_is_the_cells_own_and_on_what_is_seen_only(self):
        problem = SyntheticCells()
        first, second = (problem.space.sample(np.random.default_rng(s)) for s in (0, 1))
        measured = [problem.evaluate(Job(c, (1,), seed)).metrics for c in (first, second) for seed in (0, 1)]
        assert measured[0] == measured[1] and measured[2] == measured[3]
        noises = [m["val_error"] - m["test_error"] for m in measured]
        assert max(map(abs, noises)) <= NOISE / 2 and noises[0] != noises[2]

    def test_errors_are_errors(self):
        problem = SyntheticCells()
        errors = [
            problem.evaluate(Job({"architecture": str(t)}, (1,), 0)).metrics for t in problem.space.grammar.enumerate()
        ]
        assert 0 < min(e["val_error"] for e in errors) and max(e["val_error"] for e in errors) < 1
        assert min(e["test_error"] for e in errors) == problem.best_test()


def test_a_function_becomes_a_problem(tmp_path):
    problem = Function("x", study.table_problem(study.SYNTHETIC).space, lambda c: len(c["architecture"]), worst=1000)
    optimizer = study.optimizer(options(), "random_search", problem, 0, 5)
    history = search(problem, optimizer, Budget(trials=5), tmp_path / "log.jsonl", seed=0)
    assert problem.incumbent(history).metrics["value"] == min(len(t.configuration["architecture"]) for t in history)
