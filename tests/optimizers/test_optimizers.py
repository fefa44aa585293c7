"""The conformance class that every optimizer must pass."""

import json
import os
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from ConfigSpace import ConfigurationSpace, ForbiddenEqualsClause

from jahslib.core.problem import Fidelity
from jahslib.core.trials import History
from jahslib.errors import UserError
from jahslib.optimizers.ax.optimizer import AxBO
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.optuna import OptunaSampler
from jahslib.optimizers.published_evolution import PublishedEvolution
from jahslib.optimizers.random_search import RandomSearch
from jahslib.optimizers.regularized_evolution import RegularizedEvolution
from jahslib.optimizers.smac_bohb import SmacBohb
from jahslib.optimizers.successive_halving import ASHA, Hyperband
from jahslib.paths import ROOT
from jahslib.search import Budget, search, triallog
from jahslib.search.workers import InProcess
from jahslib.spaces import configurations as spaces
from tests.conftest import PRECISION, SIZE, RichToy, Toy, decisions, tiny_space

OPTIMIZERS = {
    "random search": lambda p, seed: RandomSearch(p, seed),
    "EA": lambda p, seed: Evolution(p, seed, pop_size=5, num_children=3),
    "EA tournament": lambda p, seed: Evolution(p, seed, pop_size=5, num_children=3, parent_selection="tournament"),
    "EA-HB": lambda p, seed: Evolution(p, seed, pop_size=5, num_children=3, hyperband=True),
    "published EA": lambda p, seed: PublishedEvolution(p, seed, pop_size=5, num_children=3),
    "published EA-HB": lambda p, seed: PublishedEvolution(p, seed, pop_size=5, num_children=3, hyperband=True),
    "Hyperband": lambda p, seed: Hyperband(p, seed),
    "ASHA": lambda p, seed: ASHA(p, seed),
    "regularized evolution": lambda p, seed: RegularizedEvolution(p, seed, pop_size=5, tournament_size=3),
    "SMAC BOHB": lambda p, seed: SmacBohb(p, seed, n_init=4),
    "Ax": lambda p, seed: AxBO(p, seed, n_init=3),
    "Ax Sobol": lambda p, seed: AxBO(p, seed, method="random_search"),
    "Optuna TPE": lambda p, seed: OptunaSampler(p, seed, options={"n_startup_trials": 5}),
    "Optuna TPE group": lambda p, seed: OptunaSampler(p, seed, options={"n_startup_trials": 5, "group": True}),
    "Optuna GP": lambda p, seed: OptunaSampler(p, seed, "GPSampler", {"n_startup_trials": 4}),
    "Optuna CMA-ES": lambda p, seed: OptunaSampler(p, seed, "CmaEsSampler"),
    "Optuna random": lambda p, seed: OptunaSampler(p, seed, "RandomSampler"),
}


class Shuffled(InProcess):
    """Pretends to have workers: jobs finish in a scrambled order that depends on `seed` alone."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.waiting = []

    def submit(self, fn, /, *args, **kwargs):
        from concurrent.futures import Future

        future = Future()
        self.waiting.append((future, fn, args))
        return future

    def first_completed(self, futures):
        self.finish_one()
        return {future for future in futures if future.done()}

    def finish_one(self):
        future, fn, args = self.waiting.pop(self.rng.integers(len(self.waiting)))
        future.set_result(fn(*args))


@pytest.fixture(params=OPTIMIZERS, ids=lambda name: name.replace(" ", "-"))
def make(request):
    return OPTIMIZERS[request.param]


@pytest.fixture
def toy():
    return RichToy([SIZE, PRECISION])


@pytest.fixture
def budget(make):
    # Ax, SMAC and Optuna's GP fit a model for each suggestion past their first few, and Ax is slow at all else.
    few = {"Ax": 6, "Ax Sobol": 12, "SMAC BOHB": 15, "Optuna GP": 6}
    return Budget(trials=next((n for name, n in few.items() if OPTIMIZERS[name] is make), 25))


@pytest.fixture(scope="class")
def searched(request, tmp_path_factory):
    """A search of a method with seed 0 and its log, made once for all tests of a class that only read it."""
    made = {}

    def of(make, budget):
        if make not in made:
            path, toy = tmp_path_factory.mktemp("searched") / "log.jsonl", request.cls.Toy([SIZE, PRECISION])
            made[make] = search(toy, make(toy, 0), budget, path, seed=0), path
        return made[make]

    return of


class TestConformance:
    """On a ConfigurationSpace of every kind; a subclass has the same tests on spaces of another kind."""

    Toy = RichToy
    tiny_space = staticmethod(tiny_space)

    def test_same_seed_gives_same_trials_whatever_the_global_state(self, make, budget, searched, tmp_path):
        """Also of a pickled problem that spoils the configurations it is given."""
        first, _ = searched(make, budget)
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002 (perturbs what must not be used)
        torch.manual_seed(1)
        toy = self.Toy([SIZE, PRECISION])
        toy.spoils = True
        toy = pickle.loads(pickle.dumps(toy))
        before = torch.get_rng_state()
        second = search(toy, make(toy, 0), budget, tmp_path / "log.jsonl", seed=0)
        assert torch.equal(before, torch.get_rng_state()), "the global generator was used"
        assert decisions(first) == decisions(second)

    def test_seeds_differ(self, make, budget, toy, searched, tmp_path):
        other = search(toy, make(toy, 2), budget, tmp_path / "log.jsonl", seed=0)
        assert [t.configuration for t in searched(make, budget)[0]] != [t.configuration for t in other]

    @pytest.mark.parametrize("how", ["raise", "nan"])
    def test_a_failed_trial_is_survived(self, make, budget, how, tmp_path):
        toy = self.Toy([SIZE, PRECISION], fail=how)
        history = search(toy, make(toy, 1), budget, tmp_path / "log.jsonl", seed=0)  # whose few by Ax have one
        failed = [t for t in history if t.status == "failed"]
        assert failed and all(not t.configuration["norm"] and t.reason for t in failed)
        assert len([t for t in history if t.status != "rejected"]) == budget.trials
        assert toy.incumbent(history).configuration["norm"]

    def test_constraints_are_honoured(self, make, budget, toy, searched):
        history, _ = searched(make, budget)
        trained = [t for t in history if t.status == "ok"]
        assert trained and all(t.metrics["size"] <= 600 for t in trained)
        best = toy.incumbent(history)
        assert best.metrics["precision"] >= 0.5
        feasible = [t for t in trained if t.final and t.metrics["precision"] >= 0.5]
        assert best.metrics["accuracy"] == max(t.metrics["accuracy"] for t in feasible)

    def test_configurations_are_valid_in_the_conditional_space(self, make, budget, toy, searched):
        history, _ = searched(make, budget)
        for trial in history:
            assert ("width" in trial.configuration) == (trial.configuration["layers"] > 1)
            if isinstance(toy.space, ConfigurationSpace):
                assert spaces.complete(toy.space, trial.configuration) == trial.configuration
            assert all(type(v) in (int, float, bool, str, type(None)) for v in trial.configuration.values())
        if len(history) > 15:  # a model-based search of few trials may rightly stay with deep networks
            assert {t.configuration["layers"] > 1 for t in history} == {True, False}
            if "mixed" in history.trials[0].configuration:
                assert len({type(t.configuration["mixed"]) for t in history}) > 1

    def test_a_log_of_another_machine_is_extended(self, make, budget, toy, searched, tmp_path):
        path = tmp_path / "log.jsonl"
        history, whole = searched(make, budget)
        lines = [json.loads(line) for line in whole.read_text().splitlines()[:-1]]
        changed = lines[1 + len(history) // 2]["configuration"]
        changed["rate"] = float(np.nextafter(changed["rate"], 1))
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        longer = search(toy, make(toy, 0), Budget(trials=budget.trials + 2), path, seed=0)
        assert [t.configuration for t in longer][: len(history)] == [line["configuration"] for line in lines[1:]]
        assert len([t for t in longer if t.status != "rejected"]) == budget.trials + 2

    def test_an_exhausted_space_ends_or_repeats_but_never_hangs(self, make, tmp_path):
        toy = self.Toy(space=self.tiny_space())
        history = search(toy, make(toy, 0), Budget(trials=12), tmp_path / "log.jsonl", seed=0)
        assert 4 <= len(history) <= 12
        assert len({str(t.configuration) for t in history}) >= 3
        assert toy.incumbent(history), "none was trained to the end"

    def test_resume_after_a_kill_gives_the_uninterrupted_run(self, make, budget, toy, searched, tmp_path):
        path = tmp_path / "log.jsonl"
        whole, log = searched(make, budget)
        lines = log.read_bytes().splitlines(keepends=True)
        for kept in (len(lines) // 2, len(lines) - 2):
            path.write_bytes(b"".join(lines[:kept]) + lines[kept][:17])  # killed while writing a line
            resumed = search(toy, make(toy, 0), budget, path, seed=0)
            assert decisions(resumed) == decisions(whole)
            assert path.read_bytes().splitlines(keepends=True)[:kept] == lines[:kept], "a finished trial was repeated"

    def test_a_parallel_log_replays_to_the_same_decisions(self, make, budget, toy, tmp_path):
        workers, path = 4, tmp_path / "log.jsonl"
        executor = Shuffled(seed=workers)
        parallel = search(toy, make(toy, 1), budget, path, seed=1, executor=executor, workers=workers)
        assert any(a.id > b.id for a, b in zip(parallel.trials, parallel.trials[1:], strict=False)), "nothing overtook"

        # A fresh optimizer that is given the recorded events must make the recorded suggestion at each of them.
        recorded, optimizer, replayed = triallog.read(path).trials, make(toy, 1), History()
        suggestions = {t.id: t.suggestion() for t in recorded}
        for trial in recorded:
            while len(replayed.suggestions) < trial.asked:
                suggestion = optimizer.ask(replayed)
                assert suggestion == suggestions[len(replayed.suggestions)]
                replayed.ask(suggestion)
            replayed.finish(trial)

        # And a kill with trials in flight loses those only.
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: len(lines) // 2]))
        resumed = search(toy, make(toy, 1), budget, path, seed=1, executor=executor, workers=workers)
        assert sorted(t.id for t in resumed) == list(range(len(resumed)))
        assert len([t for t in resumed if t.status != "rejected"]) == budget.trials
        assert path.read_bytes().splitlines(keepends=True)[: len(lines) // 2] == lines[: len(lines) // 2]

    def test_asking_twice_proposes_the_same(self, make, toy):
        optimizer, history = make(toy, 0), History()
        assert optimizer.ask(history) == optimizer.ask(history)
        assert make(toy, 0).ask(history) == optimizer.ask(history)

    def test_describes_its_settings_in_json_types(self, make, toy):
        description = make(toy, 7).describe()
        assert json.loads(json.dumps(description))["seed"] == 7


def told(optimizers, toy, trials, folder):
    """What each method decides, a line each."""
    for name, make in optimizers.items():
        history = search(toy, make(toy, 3), Budget(trials=trials(name)), folder / f"{name}.jsonl", seed=3)
        yield f"{name} {decisions(history)}"


def told_under_another_hashing(program, folder):
    """The lines that a program prints in a process that hashes strings differently."""
    (folder / "there").mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{program}\nprint(*lines, sep='\\n')", str(folder / "there")],
        env=os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.splitlines()


def few(name):
    # SMAC's local search starts from several points only once its model knows some tens of trials.
    return 30 if name == "SMAC BOHB" else 6 if name.startswith(("Ax", "Optuna GP")) else 10


DECISIONS = """
import sys
from pathlib import Path
from tests.optimizers.test_optimizers import *

lines = told(OPTIMIZERS, Toy([SIZE, PRECISION]), few, Path(sys.argv[1]))
"""


FORBIDDEN = ConfigurationSpace({"kernel": [3, 5], "norm": [True, False]})
FORBIDDEN.add(ForbiddenEqualsClause(FORBIDDEN["kernel"], 5))


class TestSpacesThatAMethodCannotSearch:
    @pytest.mark.parametrize("name", ["EA", "regularized evolution", "Ax"])
    def test_forbidden_clauses_are_refused_at_the_door(self, name):
        with pytest.raises(UserError, match=r"supports no forbidden clauses, such as .*kernel"):
            OPTIMIZERS[name](Toy(space=FORBIDDEN), 0)

    @pytest.mark.parametrize("name", ["random search", "SMAC BOHB"])
    def test_forbidden_clauses_are_minded(self, name, tmp_path):
        toy = Toy(space=FORBIDDEN)
        history = search(toy, OPTIMIZERS[name](toy, 0), Budget(trials=2), tmp_path / "log.jsonl", seed=0)
        assert {t.configuration["kernel"] for t in history} == {3} and len(history) == 2

    @pytest.mark.parametrize("bad", [{"eta": 1}, *({"min_fidelity": low} for low in (0, 1, 2.5, 20, "3"))])
    def test_no_hyperband_plan_is_refused_at_the_door(self, bad):
        for optimizer in (SmacBohb, lambda *a, **o: Evolution(*a, **o, hyperband=True)):
            toy = Toy(high=9)
            toy.fidelity = Fidelity(2, 9)
            with pytest.raises(UserError, match=r"eta: 1; give a whole|min_fidelity: .*; give a whole .* from 2 to 9"):
                optimizer(toy, 0, **bad)

    def test_the_lowest_rung_is_the_problems_least_fidelity_unless_another_is_asked_for(self, tmp_path):
        for optimizer in (SmacBohb, lambda *a, **o: Evolution(*a, **o, hyperband=True, pop_size=1)):
            for asked, lowest in ((None, 1), (3, 3)):
                toy = Toy(high=9)
                log = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
                history = search(toy, optimizer(toy, 0, eta=3, min_fidelity=asked), Budget(trials=12), log, seed=0)
                assert min(t.fidelity for t in history) == lowest

    @pytest.mark.parametrize("frozen", [("z",), "unit", 3])
    def test_frozen_hyperparameters_are_of_the_space(self, frozen):
        with pytest.raises(UserError, match=r"^Evolution: frozen"):
            Evolution(RichToy(), 0, frozen=frozen)

    def test_no_probability_is_refused(self):
        with pytest.raises(UserError, match="p_mutation: 7; give a number from 0 to 1"):
            Evolution(Toy(), 0, p_mutation=7)


def test_two_processes_give_the_same_trials_whatever_their_string_hashing(tmp_path):
    here = list(told(OPTIMIZERS, Toy([SIZE, PRECISION]), few, tmp_path))
    assert len(here) == len(OPTIMIZERS) and here == told_under_another_hashing(DECISIONS, tmp_path)
