"""Notebook 03: what its cells plan, refuse and assert."""

import pytest

from jahslib.analysis import cells as tables
from jahslib.analysis.claims import check_no_repeats, check_searches
from jahslib.data import places
from jahslib.errors import UserError
from jahslib.experiments.notebook import cells, check, experiment, path_of, run_cell
from jahslib.problems.cells import nasbench201
from jahslib.problems.cells.synthetic_cells import SyntheticCells

NOTEBOOK = "03_grammar_search"


def of(**given):
    return experiment(NOTEBOOK, {"profile": "smoke", "device": "cpu"} | given)


class TestOptions:
    @pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
    def test_every_profile_resolves_and_leaves_nothing_out(self, profile, monkeypatch):
        monkeypatch.setattr(nasbench201, "at_hand", lambda: True)
        settings = of(profile=profile).settings
        assert settings.profile == profile and not settings.left_out

    def test_the_paper_profile_is_the_originals_scale(self):
        n = of(profile="paper")
        s, bo = n.settings, next(r.optimizer for r in n.training_plan if r.method == "gp")
        assert (s.seeds, s.max_evaluations_total, s.n_init, s.pool_size) == ((777, 888, 999), 100, 10, 200)
        assert (s.p_self_crossover, s.pop_size, s.tournament_size, bo.log_objective) == (0.5, 30, 10, True)
        assert len({r.task for r in n.training_plan}) == 5 * 2 and len(n.training_plan) == 5 * 2 * 4 * 3

    def test_one_value_stands_for_several_and_the_originals_names_of_spaces_are_known(self):
        n = of(searcher="random_search", search_space="variable_multi_multi", objective="nb201_cifarTile")
        assert [r.log.stem for r in n.training_plan] == ["random_search-nb201_cifarTile-hierarchical-seed777"]
        spaces = of(search_space=["nb201_fixed_1_none", "shared"]).settings.search_space
        assert spaces == ("cell-based", "shared")

    def test_without_the_table_the_made_up_value_stands_in_and_is_named(self, monkeypatch):
        monkeypatch.setattr(nasbench201, "at_hand", lambda: False)
        n = of(profile="cpu")
        assert {r.task for r in n.table_plan} == {"synthetic-cells"} and "not at hand" in n.settings.note
        assert n.settings.left_out == {"tables": list(nasbench201.DATA)}
        asked_for = of(profile="cpu", tables="cifar10")
        assert {r.task for r in asked_for.table_plan} == {"cifar10"} and "not at hand" not in asked_for.settings.note

    def test_what_a_run_leaves_out_is_named(self):
        found = of(searcher=["bayesian_optimization", "random_search"]).settings.left_out
        assert found == {"searcher": ["regularized_evolution"]}

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"searcher": "grid"}, "searcher: 'grid' is unknown"),
            ({"surrogate_model": ["rf"]}, "surrogate_model: 'rf' is unknown"),
            ({"objective": "mnist"}, "objective: 'mnist' is unknown"),
            ({"search_space": "darts"}, "search_space: none of nb201_addNIST's is among those given; choose from hier"),
            ({"search_space": ["shared", "darts"]}, "search_space: 'darts' is unknown"),
            ({"tables": "mnist"}, "tables: 'mnist' is unknown"),
            ({"generations": (3,)}, r"generations: \(3,\)"),
            ({"seeds": ()}, "seeds: .*give at least one"),
            ({"objective": ()}, "objective: none given"),
            ({"objective": "act_cifar10", "search_space": "shared"}, "'shared' is unknown"),
            ({"search_space": "act_cifar10"}, "search_space: none of nb201_addNIST's is among those given; choose"),
            ({"data": {"addNIST": "digits"}}, "data: 'addNIST' is unknown"),
            ({"acquisition": "UCB"}, "acquisition: 'UCB' .* give 'EI'"),
            ({"data_path": "nowhere"}, "data_path: no folder nowhere"),
            ({"tables": ()}, "tables: none given"),
            ({"table_seeds": ()}, "table_seeds: .*give at least one"),
            ({"pool_sizes": 3}, "did you mean 'pool_size'"),
            ({"pool_size": 1}, "pool_size: 1"),
            ({"pool_strategy": "greedy"}, "pool_strategy: 'greedy'"),
            ({"max_evaluations_total": 0}, "max_evaluations_total: 0"),
            ({"training": {"n_train": 0}}, "n_train: 0; give"),
            ({"training": {"epochs": 3}}, "nb201_addNIST: option 'epochs' is unknown"),
        ],
    )
    def test_refuses_what_cannot_work_before_anything_is_written(self, bad, said, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        with pytest.raises(UserError, match=said):
            check(NOTEBOOK, {"profile": "smoke", "device": "cpu"} | bad)
        assert not list(tmp_path.iterdir())


class TestSearches:
    def test_every_searcher_on_every_table_and_space_with_every_seed(self):
        n = of(surrogate_model=("gp", "gp_hierarchical"), search_space=("hierarchical", "cell-based"))
        assert len(n.table_plan) == 3 * 2  # on a cell the two surrogates are one
        assert len(n.training_plan) == 4 * 2 * 1
        assert len({r.log for r in n.study.planned}) == 14
        for plan in (n.table_plan, n.training_plan):
            assert len({r.budget for r in plan}) == 1

    def test_options_reach_the_optimizer(self):
        given = {"pool_strategy": "mutation", "mutate_size": 3, "log": False, "maximum_noise": 0.1}
        plan = of(**given, original_selection=True, table_seeds=[7]).table_plan
        made = next(r.optimizer for r in plan if r.method == "gp")
        assert (made.pool_strategy, made.mutate_size, made.log_objective) == ("mutation", 3, False)
        assert (made.maximum_noise, made.original_selection, made.seed) == (0.1, True, 7)

    @pytest.mark.parametrize(("evaluations", "pop", "drawn"), [(100, 30, 10), (30, 10, 3), (6, 2, 2)])
    def test_a_short_evolution_has_a_small_population(self, evaluations, pop, drawn):
        n = of(table_evaluations=evaluations, max_evaluations_total=evaluations, searcher="regularized_evolution")
        assert {(r.optimizer.pop_size, r.optimizer.tournament_size) for r in n.study.planned} == {(pop, drawn)}

    def test_an_objective_with_a_space_of_its_own_is_searched_over_that(self):
        n = of(objective=("nb201_addNIST", "act_cifar10", "darts_cifar10"), searcher="random_search")
        assert [run.log.stem for run in n.training_plan] == [
            "random_search-nb201_addNIST-hierarchical-seed777",
            "random_search-act_digits-activation-seed777",
            "random_search-darts_digits-darts-cells-seed777",
        ]
        (run,) = of(objective="act_cifar10", search_space="act_cifar10", searcher="random_search").training_plan
        assert run.problem.grammar == "activation" and run.task == "act_digits, activation"

    @pytest.mark.parametrize("objective", ["act_cifar10", "darts_cifar10"])
    def test_networks_of_it_are_trained_and_tabled(self, objective, tmp_path):
        n = of(
            objective=objective,
            searcher=("random_search", "bayesian_optimization"),
            max_evaluations_total=4,
            n_init=3,
            pool_size=6,
            generations=(1, 2),
            working_directory=str(tmp_path),
        )
        n.study.check()
        found = n.study.run(n.training_plan)
        assert [log.parent for log in n.study.log_files] == [tmp_path / "logs"] * 2
        assert [len(s.history) for s in found] == [4, 4] and all(s.incumbent.status == "ok" for s in found)
        assert tables.incumbents_table(found).operations.between(1, 16).all()  # tails are none
        check_searches(found, 4)
        check_no_repeats(found)

    def test_the_data_folder_by_the_originals_name(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_DATA", "before")
        of(data_path=str(tmp_path))
        assert places.places()[0] == ("JAHSLIB_DATA", tmp_path)


def test_a_table_is_not_beaten(tmp_path, monkeypatch):
    """The claims cell fails on a table whose best cell is worse than an incumbent."""
    n = of(searcher="random_search", table_seeds=[0], working_directory=str(tmp_path))
    (source,) = [text for text in cells(path_of(NOTEBOOK)) if "beat the table" in text]
    (searched,) = n.study.run(n.table_plan)
    names = {"In": [], "spaces": tables.spaces_table(), "on_tables": [searched], "trained": [], "settings": n.settings}
    run_cell(source, dict(names), NOTEBOOK)
    monkeypatch.setattr(SyntheticCells, "best_test", lambda self: 1.0)
    with pytest.raises(UserError, match="beat the table"):
        run_cell(source, dict(names), NOTEBOOK)
