"""Repeated trainings of a configuration, where the problem asks for them."""

from collections import Counter
from dataclasses import replace

import pytest

from jahslib.core.trials import key
from jahslib.errors import UserError
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.random_search import RandomSearch
from jahslib.search import Budget, search
from jahslib.search.replay import replay
from jahslib.search.watch import Watch
from tests.conftest import Toy, decisions


class Noisy(Toy):
    """Half of the accuracy is chance."""

    repeats = 3

    def evaluate(self, job):
        outcome = super().evaluate(job)
        noise = (job.seed % 1000) / 1000
        return replace(outcome, metrics=outcome.metrics | {"accuracy": (outcome.metrics["accuracy"] + noise) / 2})


OPTIMIZERS = {
    "random search": RandomSearch,
    "EA": lambda p, s: Evolution(p, s, pop_size=3, num_children=2),
    "EA-HB": lambda p, s: Evolution(p, s, pop_size=3, hyperband=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_configuration_at_the_highest_fidelity_is_trained_so_often_and_judged_by_the_mean(name, tmp_path):
    toy, path = Noisy(), tmp_path / "log.jsonl"
    history = search(toy, OPTIMIZERS[name](toy, 0), Budget(trials=36), path, seed=0)
    full = Counter(key(t.configuration) for t in history if t.fidelity == 9)
    assert set(list(full.values())[:-1]) == {3} and sum(t.origin == "repeat" for t in history) >= 8
    below = Counter(key(t.configuration) for t in history if t.fidelity < 9 and t.rung == 0)
    assert all(count == 1 for count in below.values())

    best = toy.incumbent(history)
    own = [t.metrics["accuracy"] for t in history if t.configuration == best.configuration and t.fidelity == 9]
    assert best.metrics["accuracy"] == pytest.approx(sum(own) / 3)
    luckiest = max((t for t in history if t.fidelity == 9), key=lambda t: t.metrics["accuracy"])
    assert best.metrics["accuracy"] < luckiest.metrics["accuracy"]

    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:17]))
    assert decisions(search(toy, OPTIMIZERS[name](toy, 0), Budget(trials=36), path, seed=0)) == decisions(history)


def test_the_optimizer_hears_of_the_mean_and_of_nothing_else(tmp_path):
    toy, told = Noisy(), []

    class Spy(RandomSearch):
        def ask(self, history):
            told.append([t.metrics["accuracy"] for t in history])
            return super().ask(history)

    history = search(toy, Spy(toy, 0), Budget(trials=9), tmp_path / "log.jsonl", seed=0)
    values = [t.metrics["accuracy"] for t in history]
    assert told[-1] == pytest.approx([sum(values[i : i + 3]) / 3 for i in (0, 3)])


def test_a_configuration_that_fails_once_is_no_result():
    toy = Noisy()
    trials = [replace(t, metrics={"accuracy": 0.5, "precision": 1.0}) for t in three_trials()]
    assert toy.incumbent(trials) is not None
    assert toy.incumbent([*trials[:2], replace(trials[2], status="failed", metrics={})]) is None
    assert toy.incumbent(trials[:2]) is None, "not all of its trainings are there"


def three_trials():
    from jahslib.core.trials import Trial

    return [Trial({"rate": 0.1}, 9, id=i) for i in range(3)]


@pytest.mark.parametrize("bad", [0, 1.5, True, "3"])
def test_no_number_of_repeats_is_refused(bad, tmp_path):
    toy = Noisy()
    toy.repeats = bad
    with pytest.raises(UserError, match="repeats"):
        search(toy, RandomSearch(toy, 0), Budget(trials=3), tmp_path / "log.jsonl", seed=0)


def test_a_warm_starts_trainings_are_joined_by_their_configurations_in_whatever_order_they_finished(tmp_path):
    toy, told = Noisy(), []
    earlier = search(toy, RandomSearch(toy, 0), Budget(trials=7), tmp_path / "earlier.jsonl", seed=0).trials
    mixed = [earlier[i] for i in (3, 1, 6, 0, 4, 2, 5)]  # two whole groups, and one training of a third configuration

    class Spy(RandomSearch):
        def ask(self, history):
            told.append({key(t.configuration): t.metrics["accuracy"] for t in history})
            assert not history.pending and history.given == 3
            return super().ask(history)

    path = tmp_path / "log.jsonl"
    history = search(toy, Spy(toy, 1), Budget(trials=6), path, seed=1, warm_start=mixed)
    assert told[0] == pytest.approx(
        {
            key(group[0].configuration): sum(t.metrics["accuracy"] for t in group) / len(group)
            for group in (earlier[:3], earlier[3:6], earlier[6:])
        }
    )
    assert Counter(Counter(key(t.configuration) for t in history.trials[7:]).values()) == {3: 2}
    assert str(replay(RandomSearch(toy, 1), path)) == "all 6 decisions repeated"


def test_replay_and_status_mind_the_repeats(tmp_path):
    toy, path = Noisy(), tmp_path / "log.jsonl"
    history = search(toy, RandomSearch(toy, 0), Budget(trials=12), path, seed=0)
    assert str(replay(RandomSearch(toy, 0), path)) == "all 12 decisions repeated"
    incumbent = toy.incumbent(history)
    assert Watch(path).look().best == pytest.approx(incumbent.metrics["accuracy"])
