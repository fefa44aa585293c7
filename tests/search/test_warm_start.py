"""A search that begins with the trials of another one."""

from functools import partial

import numpy as np
import pytest

from jahslib.core.trials import Trial, key
from jahslib.errors import UserError
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.optuna import OptunaSampler
from jahslib.optimizers.published_evolution import PublishedEvolution
from jahslib.optimizers.random_search import RandomSearch
from jahslib.optimizers.regularized_evolution import RegularizedEvolution
from jahslib.optimizers.smac_bohb import SmacBohb
from jahslib.optimizers.sobol import Sobol
from jahslib.optimizers.successive_halving import ASHA, Hyperband
from jahslib.search import Budget, search, triallog
from jahslib.search.warm_start import is_copy, trials_of
from tests.conftest import PRECISION, SIZE, Toy, decisions, tiny_space


@pytest.fixture
def earlier(tmp_path):
    toy, path = Toy([SIZE, PRECISION]), tmp_path / "earlier.jsonl"
    search(toy, Evolution(toy, 1, pop_size=4, hyperband=True), Budget(trials=30), path, seed=1)
    return path


OPTIMIZERS = {
    "random search": RandomSearch,
    "Sobol": Sobol,
    "EA": lambda p, s: Evolution(p, s, pop_size=4),
    "EA-HB": lambda p, s: Evolution(p, s, pop_size=4, hyperband=True),
    "Hyperband": Hyperband,
    "BOHB": lambda p, s: SmacBohb(p, s, n_init=3),
    "Optuna": lambda p, s: OptunaSampler(p, s, "TPESampler"),
    "ASHA": ASHA,
    "regularized evolution": lambda p, s: RegularizedEvolution(p, s, pop_size=5, tournament_size=3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_copies_begin_the_log_are_charged_nothing_and_known_to_the_optimizer(name, earlier, tmp_path, toy):
    given = trials_of(earlier, toy)
    go = lambda path: search(  # noqa: E731
        toy, OPTIMIZERS[name](toy, 0), Budget(trials=12, epochs=108), path, seed=0, warm_start=given
    )
    history = go(tmp_path / "log.jsonl")
    copies, own = history.trials[:30], history.trials[30:]
    assert all(map(is_copy, copies)) and not any(map(is_copy, own))
    assert sum(t.epochs for t in copies) == 0 and sum(t.status != "rejected" for t in own) <= 12 and own
    assert [t.metrics for t in copies] == [t.metrics for t in given]
    tried = {key(t.configuration) for t in copies}
    assert not any(key(t.configuration) in tried and t.parent is None for t in own), "trained again"
    trained = [(key(t.configuration), t.fidelity) for t in history if t.status != "rejected"]
    assert len(set(trained)) == len(trained), "trained again at one fidelity"
    assert toy.rank(toy.incumbent(history)) <= toy.rank(toy.incumbent(given))

    path = tmp_path / "log.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in (1, 17, 34):
        path.write_bytes(b"".join(lines[:kept]))
        assert decisions(go(path)) == decisions(history)


def test_the_published_evolution_takes_only_whole_trainings_as_founders(earlier, tmp_path, toy):
    given = trials_of(earlier, toy)
    make = partial(PublishedEvolution, pop_size=8, hyperband=True)
    path, go = (
        tmp_path / "log.jsonl",
        lambda path: search(toy, make, Budget(trials=16), path, seed=0, warm_start=given),
    )
    history = go(path)
    whole = sum(t.fidelity == 9 and t.status != "rejected" for t in given)
    founders = [t for t in history.trials[len(given) :] if t.bracket is None]
    assert 0 < whole < 8 and len(founders) == 8 - whole and all(t.fidelity == 9 for t in founders)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:38]))
    assert decisions(go(path)) == decisions(history)


def test_another_start_is_another_search(earlier, tmp_path, toy):
    path, go = (
        tmp_path / "log.jsonl",
        lambda **o: search(toy, RandomSearch(toy, 0), Budget(trials=3), path, seed=0, **o),
    )
    go(warm_start=trials_of(earlier, toy))
    with pytest.raises(UserError, match="warm_start"):
        go()
    assert len(triallog.read(path).trials) == 33


def test_trials_of_another_problem_are_no_start(earlier):
    with pytest.raises(UserError, match=r"another problem.*constraints"):
        trials_of(earlier, Toy())


@pytest.mark.parametrize("given", ["earlier.jsonl", ["earlier.jsonl"], None])
def test_what_is_no_trial_is_no_start(given, tmp_path, toy):
    with pytest.raises(UserError, match=r"(earlier.jsonl'|None) is no trial"):
        search(toy, RandomSearch, Budget(trials=3), tmp_path / "log.jsonl", seed=0, warm_start=given)
    assert not list(tmp_path.iterdir())


def test_trials_of_several_searches_are_joined_and_continue_their_own(tmp_path, toy):
    both = []
    for seed in (1, 2):
        both += search(toy, Hyperband, Budget(trials=20), tmp_path / f"{seed}.jsonl", seed=seed)
    path = tmp_path / "log.jsonl"
    history = search(toy, Evolution, Budget(trials=3), path, seed=0, warm_start=both)
    copies = history.trials[: len(both)]
    assert [t.id for t in copies] == list(range(len(both))) and [t.metrics for t in copies] == [t.metrics for t in both]
    continued = [t for t in copies if t.parent is not None]
    assert {t.id < 20 for t in continued} == {True, False}
    assert all(copies[t.parent].configuration == t.configuration for t in continued)
    assert all((t.parent < 20) == (t.id < 20) for t in continued)
    assert triallog.read(path).trials == history.trials


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"configuration": {"kernel": 3}}, "outside its space"),
        ({"configuration": {"kernel": 4, "norm": True}}, "outside its space"),
        ({"configuration": {"kernel": {3}, "norm": True}}, "JSON"),
        ({"metrics": {}}, "no metric 'accuracy'"),
        ({"metrics": {"accuracy": float("nan")}}, "no metric 'accuracy'"),
        ({"metrics": {"accuracy": 2.0}}, "beyond the objective's best"),
        ({"metrics": {"accuracy": "high"}}, "return a number"),
        ({"fidelity": 10}, "epochs 10 are beyond the problem's 9"),
    ],
)
def test_trials_that_a_search_of_the_problem_could_not_have_made_are_refused(changes, said, tmp_path):
    toy = Toy(space=tiny_space(), high=9)
    made = {"configuration": {"kernel": 3, "norm": True}, "fidelity": 9, "metrics": {"accuracy": 0.5}}
    good, path = Trial(**made), tmp_path / "log.jsonl"
    with pytest.raises(UserError, match=f"warm start: trial 7: .*{said}"):
        search(toy, RandomSearch, Budget(trials=1), path, seed=0, warm_start=[good, Trial(**made | changes, id=7)])
    assert not path.exists()


def test_numbers_of_numpy_are_pythons_in_a_warm_start(tmp_path):
    toy = Toy(space=tiny_space())
    given = Trial({"kernel": np.int64(3), "norm": np.True_}, 9, metrics={"accuracy": np.float32(0.5)})
    history = search(toy, RandomSearch, Budget(trials=3), tmp_path / "log.jsonl", seed=0, warm_start=[given])
    assert history.trials[0].configuration == {"kernel": 3, "norm": True} and len(history) == 4
    assert len({key(t.configuration) for t in history}) == 4
