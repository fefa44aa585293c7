from collections import Counter

import numpy as np
import pytest

from jahslib.core.problem import Constraint, Job
from jahslib.core.trials import History, Trial
from jahslib.errors import UserError
from jahslib.optimizers import hyperband, variation
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.published_evolution import PublishedEvolution
from jahslib.search import Budget, search
from jahslib.spaces import configurations as spaces
from tests.conftest import PRECISION, SIZE, Toy


def follow(problem, optimizer, trials, workers=1, newest_first=False):
    """A search in memory with `workers` pending trials; gives its history."""
    history = History()
    while len(history) < trials:
        while len(history.pending) < workers and (suggestion := optimizer.ask(history)):
            history.ask(suggestion)
        if not history.pending:
            break
        id, suggestion = list(history.pending.items())[-newest_first]
        outcome = problem.evaluate(Job(suggestion.configuration, (suggestion.fidelity,), seed=id))
        metrics = {**problem.known(suggestion.configuration), **outcome.metrics}
        history.finish(Trial(**vars(suggestion), id=id, metrics=metrics, asked=len(history.suggestions)))
    return history


def newcomers(history):
    return [spaces.key(s.configuration) for s in history.suggestions if s.parent is None]


@pytest.mark.parametrize("hyperband", [False, True])
@pytest.mark.parametrize("workers", [1, 4])
def test_no_configuration_is_proposed_twice(hyperband, workers):
    problem = Toy([SIZE, PRECISION])
    history = follow(problem, Evolution(problem, 0, hyperband=hyperband), 200, workers, newest_first=True)
    assert max(Counter(newcomers(history)).values()) == 1
    assert all(problem.admits(s.configuration) for s in history.suggestions)


def test_a_space_that_is_used_up_ends_the_search(monkeypatch):
    monkeypatch.setattr("jahslib.optimizers.variation.ATTEMPTS", 100)
    space = {"norm": [True, False], "kernel": [3, 5]}
    problem = Toy(space=spaces.ConfigurationSpace(space))
    assert len(set(newcomers(follow(problem, Evolution(problem, 0, founders=2), 10)))) == 4


class TestPopulation:
    def test_it_is_renewed_by_every_result(self, monkeypatch):
        """With one member and no other founders, each parent is the best trial so far."""
        problem = Toy()
        evolution = Evolution(problem, 0, pop_size=1, founders=1, p_mutation=1.0)
        parents, mutate = [], variation.mutate
        monkeypatch.setattr(
            variation, "mutate", lambda space, parent, rng: parents.append(parent) or mutate(space, parent, rng)
        )
        history = follow(problem, evolution, 30)
        best = [problem.incumbent(history.trials[:n]).configuration for n in range(1, 30)]
        assert all(parent in best for parent in parents)
        assert parents[-1] == best[-1] != best[0]

    def test_children_come_while_others_are_in_training(self):
        problem = Toy()
        history = follow(problem, Evolution(problem, 0, founders=3), 20, workers=4)
        assert [s.origin for s in history.suggestions[:3]] == ["random"] * 3
        assert {s.origin for s in history.suggestions[5:]} == {"variation"}

    def test_feasible_members_come_first_and_a_promoted_one_counts_once(self):
        problem = Toy([PRECISION], high=9)
        evolution = Evolution(problem, 0, pop_size=3, hyperband=True)
        evolution.ask(History())
        told = [(1, 0.9, 0.1), (1, 0.5, 0.9), (9, 0.4, 0.9), (9, 0.8, 0.2), (1, 0.6, 0.9)]
        for id, (fidelity, accuracy, precision) in enumerate(told):
            metrics = {"accuracy": accuracy, "precision": precision}
            evolution.observe(Trial({"id": id}, fidelity, parent=1 if id == 2 else None, id=id, metrics=metrics))
        assert [t.id for t in evolution._population] == [2, 3, 4]

    def test_a_large_one_eats_no_budget(self):
        problem = Toy()
        history = follow(problem, Evolution(problem, 0, pop_size=500), 20)
        assert Counter(s.origin for s in history.suggestions) == {"random": 10, "variation": 10}


class TestHyperband:
    @pytest.fixture
    def history(self):
        problem = Toy([SIZE, PRECISION], high=8)
        return follow(problem, Evolution(problem, 1, hyperband=True, eta=2), 100)

    def test_follows_the_plan(self, history):
        expected = [
            (number, level, rung.fidelity)
            for number, rungs in enumerate(hyperband.plan(1, 8, 2) * 4)
            for level, rung in enumerate(rungs)
            for _ in range(rung.members)
        ]
        assert [(t.bracket, t.rung, t.fidelity) for t in history] == expected[:100]

    def test_founders_are_the_first_bracket_and_cost_little(self, history):
        founders = [t for t in history if t.origin == "random" and t.parent is None]
        assert {(t.bracket, t.fidelity) for t in founders} == {(0, 1)}

    def test_promotes_the_best_of_each_rung_and_continues_their_training(self, history):
        problem = Toy([SIZE, PRECISION], high=8)
        rungs = {}
        for t in history:
            rungs.setdefault((t.bracket, t.rung), []).append(t)
        for (bracket, level), trials in rungs.items():
            if level:
                best = sorted(rungs[bracket, level - 1], key=problem.rank)[: len(trials)]
                assert [(t.parent, t.configuration) for t in trials] == [(t.id, t.configuration) for t in best]

    def test_only_trials_of_the_highest_fidelity_are_final(self, history):
        assert all(t.final == (t.fidelity == 8) for t in history)

    @pytest.mark.parametrize("evolution", [Evolution, PublishedEvolution])
    def test_a_rung_that_fails_whole_does_not_end_the_search(self, evolution, tmp_path):
        class Fragile(Toy):
            def evaluate(self, job):
                if len(job.stages) == 2:
                    raise RuntimeError("promotion lost")
                return super().evaluate(job)

        problem = Fragile(high=4)
        optimizer = evolution(problem, 0, pop_size=3, hyperband=True)
        history = search(problem, optimizer, Budget(trials=60), tmp_path / "log.jsonl", seed=0)
        assert len(history) == 60 and any(t.status == "failed" for t in history)

    def test_the_incumbent_is_feasible_at_the_highest_fidelity_where_lower_ones_mislead(self):
        """A time limit is kept at every rung but the last."""

        class Timed(Toy):
            def evaluate(self, job):
                outcome = super().evaluate(job)
                outcome.metrics["time"] = job.fidelity * job.configuration["layers"]
                return outcome

        problem = Timed([Constraint("time", "<=", 9)])
        history = follow(problem, Evolution(problem, 0, hyperband=True), 150)
        best = problem.incumbent(history)
        assert best.fidelity == 9 and best.configuration["layers"] == 1


def test_newly_active_hyperparameters_are_drawn_or_inherited():
    space, rng = Toy().space, np.random.default_rng(0)
    shallow = {"kernel": 3, "layers": 1, "norm": True, "rate": 0.01}
    deep = {**shallow, "layers": 3, "width": 7}
    grown = [c["width"] for c in (variation.mutate(space, shallow, rng) for _ in range(500)) if "width" in c]
    assert len(set(grown)) > 20
    children = [variation.recombine(space, shallow, deep, rng) for _ in range(50)]
    assert {c.get("width") for c in children} == {None, 7}
    assert {c["layers"] for c in children} == {1, 3}
    assert all(variation.recombine(space, shallow, deep, rng, ("layers",)) == shallow for _ in range(20))


@pytest.mark.parametrize(
    "bad",
    [
        {"pop_size": 0},
        {"pop_size": 2.5},
        {"pop_size": "4"},
        {"founders": 0},
        {"num_children": -1},
        {"parent_selection": "roulette"},
        {"p_mutation": 7},
    ],
)
def test_refuses_bad_settings(bad):
    with pytest.raises(UserError, match=r"(?i)evolution"):
        Evolution(Toy(), 0, **bad)
