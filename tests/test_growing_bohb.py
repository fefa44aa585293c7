import pytest

from jahslib import places, studies
from jahslib.errors import UserError
from jahslib.studies import growing_bohb as study
from jahslib.studies import growing_bohb_results as results
from jahslib.studies import tables
from jahslib.trials import History, Suggestion, Trial


def options(**given):
    return study.options(**{"profile": "smoke", "device": "cpu"} | given)


def search(rows, method="bohb", seed=0):
    """A search of (fidelity, accuracy, params) trials."""
    o = options()
    history = History()
    for fidelity, top1, params in rows:
        c = {"learning_rate_init": 0.01, "n_conv_layers": 3, "n_fc_layers": 0, "conv_trigger_threshold": 0.2}
        suggestion = Suggestion(c, fidelity, final=fidelity == o.max_epochs)
        id = history.ask(suggestion)
        metrics = {"top1": top1, "params": params}
        history.finish(
            Trial(**vars(suggestion), id=id, metrics=metrics, epochs=fidelity, elapsed=60.0 * (id + 1), asked=id + 1)
        )
    return study.Search(method, seed, history, study.problem(o, method))


def final(top1, widths=(9, 12, 14), params=5000.0):
    trace = {"step": [1.0, 2.0], "params": [1000.0, params]} | {f"width_{i}": [8, w] for i, w in enumerate(widths)}
    fold = {"widths": list(widths), "n_conv": len(widths), "top1": top1, "params": params, "trace": trace}
    return Trial({}, 3, epochs=3, metrics={"top1": top1, "params": params}, outputs={"folds": [fold]})


class TestOptions:
    @pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
    def test_every_profile_resolves(self, profile):
        assert options(profile=profile).profile == profile

    def test_all_searches_share_budget_folds_and_limit(self):
        runs = list(study.searches(options(seeds=[0, 1])))
        assert len(runs) == 10 and len({run.log for run in runs}) == 10
        assert len({run.budget for run in runs}) == 1
        assert {run.problem.max_params for run in runs} == {30_000} and {run.problem.seed for run in runs} == {42}

    def test_the_original_s_brackets(self):
        """3.33 and 10 epochs, rounded up: 3@4 -> 1@10, then 2@10."""
        run = next(r for r in study.searches(options(profile="cpu", data="mnist5k", per_class=3)) if r.method == "bohb")
        history, asked = History(), []
        for turn in range(5):
            suggestion = run.optimizer.ask(history)
            id = history.ask(suggestion)
            asked.append((suggestion.fidelity, suggestion.final))
            metrics = {"top1": 0.1 * turn, "params": 100.0}
            history.finish(Trial(**vars(suggestion), id=id, metrics=metrics, epochs=suggestion.fidelity, asked=id + 1))
        assert asked == [(4, False)] * 3 + [(10, True)] + [(10, True)]
        assert history.suggestions[3].parent == 2  # the best of the first rung is continued

    def test_reproduce_paper_searches_one_threshold_by_norths_trigger(self):
        task = study.problem(options(reproduce_paper=True), "bohb")
        assert "trigger_threshold" in task.space and task.growth_rule({"trigger_threshold": 0.9}).trigger == "north"

    def test_what_the_controls_search(self):
        spaces = {m: set(study.problem(options(), m).space) for m in study.METHODS}
        assert spaces["hpo"] == {"learning_rate_init"}
        assert spaces["nas"] == spaces["bohb"] - {"learning_rate_init"} and spaces["rs"] == spaces["bohb"]
        assert len(spaces["static"]) == 9 and not any("threshold" in name for name in spaces["static"])

    def test_working_dir_holds_the_logs(self, tmp_path):
        assert all(run.log.is_relative_to(tmp_path) for run in study.searches(options(working_dir=str(tmp_path))))

    def test_data_dir_holds_the_data(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_DATA", "before")
        options(data_dir=str(tmp_path))
        assert places.places()[0] == ("JAHSLIB_DATA", tmp_path)

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"data_dir": "/nowhere"}, "data_dir: no folder /nowhere"),
            ({"methods": ["bohbs"]}, "methods: 'bohbs'"),
            ({"seeds": []}, "seeds: none"),
            ({"methods": []}, "methods: none given"),
            ({"per_class": 2}, "per_class: 2 images a class for 3 folds; give at least 3"),
            ({"initial_width": 0}, "initial_width: 0; give at least 1"),
            ({"trace_every": -1}, "trace_every: -1; give at least 0"),
            ({"eta": 3.0}, r"parameter eta is 3.0 \(float\); expected int"),
            ({"max_parameters": 3}, "did you mean 'max_params'"),
            ({"max_params": 1000}, "max_params: 1000 is below the"),
            ({"max_params": -1}, "max_params: -1 must be positive"),
            ({"growth": {"evry": 2}}, "rule: .*evry"),
            ({"growth": {"max_conv": 4}}, "max_conv: 4 is below the initial width 8"),
            ({"growth": {"initialisation": "clever"}}, "no initialisation 'clever'"),
            ({"runtime": -3.0}, "budget: seconds=-3"),
            ({"batch_norm": "layer"}, "batch_norm: 'layer'"),
            ({"data": "fashion"}, "no data set is called 'fashion'"),
        ],
    )
    def test_refuses_what_cannot_work_before_anything_is_written(self, bad, said, tmp_path, monkeypatch):
        monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
        with pytest.raises(UserError, match=said):
            studies.check(study.NOTEBOOK, {"profile": "smoke", "device": "cpu"} | bad)
        assert not list(tmp_path.iterdir())


class TestResults:
    def test_the_space_shows_found_and_reported_incumbents(self):
        table = results.space_table([search([(3, 0.5, 10)])]).set_index("hyperparameter")
        assert table.loc["conv_trigger_threshold", ["seed_0", "reported"]].tolist() == ["0.2", "0.104"]
        assert table.loc["learning_rate_init", "range"] == "[0.0001, 0.05], log"
        assert table.loc["fc_trigger_threshold", "seed_0"] == "–"

    def test_methods_stand_beside_the_reported_values(self):
        searches = [search([(1, 0.9, 10), (3, 0.5, 10), (3, 0.7, 10)]), search([(3, 0.6, 10)], seed=1)]
        finals = {("bohb", 0): [final(0.8), final(0.6)], ("bohb", 1): [final(0.9), final(0.9)]}
        row = results.methods_table(searches, finals).iloc[0]
        assert row.val_top1 == "0.650 ± 0.071"  # the lower fidelity does not count
        assert row.test_top1 == "0.800 ± 0.141" and row.epochs_final == 12
        assert row.reported_test_top1 == 0.914

    def test_curves_follow_the_incumbent(self):
        curve = tables.incumbent_curves([search([(1, 0.9, 10), (3, 0.5, 10), (3, 0.4, 10), (3, 0.7, 10)])], "top1")
        assert curve.top1.tolist() == [0.5, 0.5, 0.7] and curve.epochs.tolist() == [4, 7, 10]
        assert curve.minutes.tolist() == [2, 3, 4]

    def test_growth_is_tidy(self):
        searches = [search([(3, 0.5, 10)])]
        table = results.growth_table(searches, {("bohb", 0): [final(0.8), final(0.7)]})
        assert len(table) == 2 * 3 * 2 and set(table.layer) == {"conv 0", "conv 1", "conv 2"}
        last = table[(table.step == 2) & (table.layer == "conv 1")]
        assert last.width.tolist() == [12, 12] and last.params.tolist() == [5000, 5000]

    def test_widths_with_fully_connected_layers(self):
        trial = final(0.5, (9, 12, 20))
        trial.outputs["folds"][0]["n_conv"] = 2
        assert results.shape([trial]) == "9-12/20"

    def test_a_claim_that_does_not_hold_stops_the_notebook(self):
        with pytest.raises(AssertionError, match="overspent"):
            results.check_claims(options(epoch_budget=2), [search([(3, 0.5, 10)])], {})
        with pytest.raises(AssertionError, match="40000 parameters"):
            results.check_claims(options(), [search([(3, 0.5, 40_000)])], {})
