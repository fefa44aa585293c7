"""Objectives and constraints: their costs and violations, and what a trial log's header keeps of them."""

import json
import math

import numpy as np
import pytest

from jahslib.core.problem import Constraint, Fidelity, Objective
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.errors import UserError
from jahslib.optimizers.random_search import RandomSearch
from jahslib.paths import ROOT
from jahslib.search import Budget, logfiles, search
from tests.conftest import Toy


def test_cost_is_the_distance_to_the_best_in_either_direction():
    assert Objective("top1", best=1.0, worst=0.0).cost({"top1": 0.75}) == 0.25
    assert Objective("loss", best=0.0, worst=5.0).cost({"loss": 0.75}) == 0.75


def test_an_objective_is_read_back_from_a_header():
    described = json.loads(json.dumps(Toy().describe()["objective"]))
    assert Objective(*described) == Toy.objective


@pytest.mark.parametrize("bounds", [(0.0, math.inf), (-math.inf, 1.0), (math.nan, 1.0), (1.0, 1.0), ("min", 1.0)])
def test_an_objectives_bounds_are_finite_and_differ(bounds):
    with pytest.raises(UserError, match="objective loss"):
        Objective("loss", *bounds)


@pytest.mark.parametrize(("best", "worst"), [(0.0, 5.0), (1.0, 0.0), (-3.0, -1.0)])
def test_rounding_does_not_pass_the_best(best, worst):
    objective = Objective("m", best, worst)
    assert not objective.is_beyond_best(worst) and not objective.is_beyond_best(best + (best - worst) * 1e-12)
    assert objective.is_beyond_best(best + (best - worst) * 0.01)


@pytest.mark.parametrize(
    ("relation", "bound"),
    [("<", 1.0), ("==", 1.0), ("=<", 1.0), ("<=", math.inf), ("<=", "1"), ("<=", None), ("<=", 10**400)],
)
def test_a_constraint_has_a_known_relation_and_a_finite_bound(relation, bound):
    with pytest.raises(UserError, match="constraint params"):
        Constraint("params", relation, bound)


@pytest.mark.parametrize("metric", [None, 3, ""])
def test_a_metric_and_a_resource_have_a_name(metric):
    for made in (lambda: Objective(metric), lambda: Constraint(metric, "<=", 1), lambda: Fidelity(1, 3, metric)):
        with pytest.raises(UserError, match=f"(metric|name): {metric!r}; give a text"):
            made()


def test_violation_is_relative_and_equality_is_feasible():
    size, precision = Constraint("params", "<=", 200.0), Constraint("precision", ">=", 0.4)
    assert size.violation({"params": 200.0}) == 0 == precision.violation({"precision": 0.4})
    assert size.violation({"params": 300.0}) == 0.5
    assert precision.violation({"precision": 0.3}) == pytest.approx(0.25)
    assert size.violation({}) == math.inf


def test_excess_is_in_the_metrics_own_unit():
    assert Constraint("params", "<=", 200.0).excess({"params": 300.0}) == 100.0
    assert Constraint("precision", ">=", 0.5).excess({"precision": 0.75}) == -0.25
    assert math.isnan(Constraint("params", "<=", 200.0).excess({}))


def test_the_penalty_puts_every_infeasible_trial_behind_every_feasible_one():
    problem = Toy((Constraint("precision", ">=", 0.5),))

    def cost(status, **metrics):
        return problem.penalised_cost(Trial({}, 9, status=status, metrics=metrics))

    best, worst = cost("ok", accuracy=0.9, precision=0.5), cost("ok", accuracy=0.0, precision=0.9)
    nearly, far = cost("ok", accuracy=1.0, precision=0.49), cost("ok", accuracy=1.0, precision=0.1)
    assert best < worst < nearly < far <= cost("failed") == worst + 1


@pytest.mark.parametrize(
    "bound", [0.39, 2e7, 1234567.0, 1234568.0, -0.001, 1 / 3, 1234567890123, 1e-17, 2**53 + 1, np.float32(1 / 3)]
)
def test_a_constraint_is_read_back_from_its_text(bound):
    constraint = Constraint("params", "<=", bound)
    assert Constraint.parse(str(constraint)) == constraint
    assert Constraint.parse(str(constraint)).violation({"params": float(bound)}) == 0


@pytest.mark.parametrize("text", ["", "params", "params < 3", "params <= many"])
def test_any_other_text_is_no_constraint(text):
    with pytest.raises(ValueError):
        Constraint.parse(text)


def test_the_constraints_of_committed_logs_are_written_as_they_were():
    """A log whose fingerprint is written otherwise would be refused as another search's."""
    headers = [json.loads(logfiles.opened(log).readline()) for log in logfiles.found(ROOT, "results/*/*/logs/*")]
    texts = {text for h in headers for text in h["fingerprint"]["problem"]["constraints"]}
    assert len(texts) > 5
    assert {text: str(Constraint.parse(text)) for text in texts} == {text: text for text in texts}


class TestFidelity:
    @pytest.mark.parametrize("bad", [(1.5, 81), (0, 3), (4, 3), (1, math.inf), ("1", 3), (True, 3), (math.nan, 3)])
    def test_epochs_are_whole_positive_and_in_order(self, bad):
        with pytest.raises(UserError, match="fidelity: epochs"):
            Fidelity(*bad)

    def test_other_resources_may_be_fractions_and_tell_their_name(self):
        part = Fidelity(0.03, 1.0, "trainsize")
        assert not part.whole and part.describe() == [0.03, 1.0, "trainsize"]
        assert Fidelity(1, 9).whole and Fidelity(np.int64(1), np.int64(9)).describe() == [1, 9]

    def test_a_search_of_fractions(self, tmp_path):
        toy = Toy()
        toy.fidelity = Fidelity(0.1, 1.0, "trainsize")
        history = search(toy, RandomSearch(toy, 0), Budget(epochs=4.5), tmp_path / "log.jsonl", seed=0)
        assert [t.fidelity for t in history] == [1.0] * 4 and "at 1 trainsize" in toy.verdict(history)


class TestMaximize:
    def test_alone_it_means_a_metric_from_0_to_1(self):
        up, down = Objective("accuracy", maximize=True), Objective("error", maximize=False)
        assert (up.best, up.worst) == (1.0, 0.0) and (down.best, down.worst) == (0.0, 1.0)
        assert Objective("accuracy") == up and up.maximize and not down.maximize

    @pytest.mark.parametrize(("best", "worst", "maximize"), [(0.0, 5.0, True), (1.0, 0.0, False)])
    def test_bounds_on_the_wrong_side_are_refused(self, best, worst, maximize):
        with pytest.raises(UserError, match="maximize"):
            Objective("m", best, worst, maximize)


def test_only_the_highest_fidelity_is_judged_and_the_verdict_names_it():
    problem = Toy([Constraint("precision", ">=", 0.5)])
    low = Trial({}, 8, id=0, metrics={"accuracy": 0.9, "precision": 0.9}, final=True)
    full = Trial({}, 9, id=1, metrics={"accuracy": 0.1, "precision": 0.9})
    assert problem.incumbent([low, full]) is full and "trial 1 at 9 epochs" in problem.verdict([low, full])
    assert problem.incumbent([low]) is None and "highest fidelity, 9 epochs" in problem.verdict([low])


def test_a_long_chain_of_continued_trials_has_its_lineage():
    history = History()
    for id in range(3000):
        history.ask(Suggestion({}, id + 1, parent=id - 1 if id else None))
    assert history.lineage(2999) == tuple(range(3000))


def test_what_needs_no_training_is_asked_once_a_configuration(tmp_path):
    asked = []

    class Counting(Toy):
        def known(self, configuration):
            asked.append(configuration)
            return super().known(configuration)

    toy = Counting([Constraint("size", "<=", 600)])
    history = search(toy, RandomSearch(toy, 0), Budget(trials=10), tmp_path / "log.jsonl", seed=0)
    drawn = {str(c) for c in asked}
    assert len(history) == 10 and len(asked) == len(drawn) > 9
