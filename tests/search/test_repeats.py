"""Repeated trainings of a configuration, where the problem asks for them."""

from collections import Counter
from dataclasses import replace

import pytest

from jahslib.core.trials import key
from jahslib.errors import UserError
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.random_search import RandomSearch
from jahslib.search import Budget, search
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
