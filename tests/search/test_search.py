import errno
import json
import math
import multiprocessing
import os
import re
import resource
import signal
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from ConfigSpace import ConfigurationSpace, Constant

from jahslib.core.optimizer import Listed
from jahslib.core.problem import Constraint, Objective, Outcome
from jahslib.core.trials import Trial
from jahslib.errors import UserError
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.random_search import RandomSearch
from jahslib.problems.function import Function
from jahslib.search import Budget, search, triallog
from jahslib.search.replay import replay
from jahslib.search.search import fingerprint
from jahslib.search.triallog import LogWriteError
from jahslib.search.workers import InProcess, LocalProcesses, pool
from jahslib.spaces import configurations as spaces
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.space import GrammarSpace
from tests.conftest import PRECISION, SIZE, Toy, decisions, forked, tiny_space
from tests.toys import Leaving

RECURSIVE: list = []
RECURSIVE.append(RECURSIVE)
CONFIGURATION = {"kernel": 5, "layers": 1, "norm": True, "rate": 1e-3}


def run(toy, path, *, seed=0, budget=None, optimizer=None, **options):
    optimizer = optimizer or RandomSearch(toy, seed)
    return search(toy, optimizer, budget or Budget(trials=6), path, seed=seed, **options)


def evolution(toy, seed=0):
    return Evolution(toy, seed, pop_size=4, num_children=2, hyperband=True)


@pytest.fixture(scope="module")
def two_workers():
    """Two processes, which import what they need once."""
    with pool(2) as executor:
        yield executor


class TestBudget:
    @pytest.mark.parametrize(
        "bad",
        [
            {},
            {"trials": 0},
            {"epochs": -1},
            {"seconds": 0.0},
            {"trials": 2.5},
            {"trials": np.inf},
            {"epochs": np.inf},
            {"seconds": np.nan},
            {"trials": True},
            {"epochs": "9"},
        ],
    )
    def test_refuses_what_is_no_budget(self, bad):
        with pytest.raises(UserError, match="budget"):
            Budget(**bad)

    def test_epochs_are_never_overspent_and_counted_once_on_promotion(self, toy, tmp_path):
        history = run(toy, tmp_path / "log.jsonl", budget=Budget(epochs=200), optimizer=evolution(toy))
        spent = sum(t.epochs for t in history)
        assert 200 - 9 < spent <= 200
        by_id = {t.id: t for t in history}
        promoted = [t for t in history if t.parent is not None]
        assert promoted and all(t.epochs == t.fidelity - by_id[t.parent].fidelity for t in promoted)

    def test_with_workers_pending_trials_are_counted(self, toy, two_workers, tmp_path):
        history = run(toy, tmp_path / "log.jsonl", budget=Budget(epochs=40), executor=two_workers, workers=2)
        assert sum(t.epochs for t in history) == 36

    @pytest.mark.parametrize("budget", [Budget(trials=10), Budget(epochs=90)])
    def test_what_is_about_to_be_rejected_uses_up_nothing(self, budget, tmp_path):
        trained = set()
        drawn = [spaces.sample(Toy().space, rng) for rng in [np.random.default_rng(0)] for _ in range(200)]
        small, large = ([c for c in drawn if (Toy().known(c)["size"] <= 100) == fits] for fits in (True, False))
        configurations = [c for three in zip(large, small, large[50:], strict=False) for c in three]
        for workers in (1, 4):
            toy = Toy([Constraint("size", "<=", 100)], delay=0.01)
            with ThreadPoolExecutor(4) as executor:
                history = search(
                    toy,
                    Listed(toy, 0, configurations),
                    budget,
                    tmp_path / f"{workers}.jsonl",
                    seed=0,
                    executor=executor,
                    workers=workers,
                )
            assert any(t.status == "rejected" for t in history)
            trained.add(sum(t.status == "ok" for t in history))
        assert trained == {10}

    @pytest.mark.parametrize("killed", [False, True])
    def test_a_charge_that_was_not_foretold_is_told_and_kept(self, killed, tmp_path, caplog):
        class Folds(Toy):
            def evaluate(self, job):
                return replace(super().evaluate(job), epochs=5 * job.fidelity)

        path = tmp_path / "log.jsonl"
        first = run(Folds(), path, budget=Budget(epochs=100))
        assert [t.epochs for t in first] == [45, 45, 45]
        assert caplog.text.count("charged 45 epochs, `epochs` foretold 9") == 1
        if killed:
            path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
        assert decisions(run(Folds(), path, budget=Budget(epochs=100))) == decisions(first)

    def test_seconds_cut_the_search(self, tmp_path):
        toy = Toy(delay=0.05)
        history = run(toy, tmp_path / "log.jsonl", budget=Budget(seconds=0.5, trials=1000))
        assert 1 <= len(history) <= 10
        assert history.trials[-1].elapsed < 0.8

    def test_a_finished_search_goes_on_under_a_larger_budget(self, toy, tmp_path):
        path = tmp_path / "log.jsonl"
        run(toy, path, budget=Budget(trials=4))
        longer = run(toy, path, budget=Budget(trials=9))
        assert decisions(longer) == decisions(run(toy, tmp_path / "other.jsonl", budget=Budget(trials=9)))

    @pytest.mark.parametrize("ended", [True, False])
    def test_a_log_that_goes_on_beyond_the_budget_is_read_as_far_each_time_and_left_as_it_is(
        self, ended, toy, tmp_path
    ):
        path = tmp_path / "log.jsonl"
        first = decisions(run(toy, path, budget=Budget(trials=9), optimizer=evolution(toy)))
        kept = tmp_path / "log.jsonl.checkpoints" / "trial-00001" / "state"
        kept.parent.mkdir(parents=True)
        kept.touch()
        if not ended:
            path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
        before = path.read_bytes()
        for _ in range(2):
            assert decisions(run(toy, path, budget=Budget(trials=4), optimizer=evolution(toy))) == first[:4]
        assert path.read_bytes() == before and kept.exists()

    @pytest.mark.parametrize("kind", ["trials", "epochs"])
    def test_a_smaller_budget_gives_the_shorter_search_and_keeps_the_log(self, toy, kind, tmp_path):
        path = tmp_path / "log.jsonl"
        run(toy, path, budget=Budget(**{kind: 90}), optimizer=evolution(toy))
        before = path.read_bytes()
        shorter = run(toy, path, budget=Budget(**{kind: 40}), optimizer=evolution(toy))
        alone = run(toy, tmp_path / "alone.jsonl", budget=Budget(**{kind: 40}), optimizer=evolution(toy))
        assert decisions(shorter) == decisions(alone)
        assert path.read_bytes().startswith(before)
        again = run(toy, path, budget=Budget(**{kind: 90}), optimizer=evolution(toy))
        assert len(again) > len(shorter)

    def test_a_finished_search_asks_nothing(self, toy, tmp_path):
        path = tmp_path / "log.jsonl"
        first = run(toy, path)

        class Untouchable(RandomSearch):
            def ask(self, history):
                raise AssertionError("asked")

            def describe(self):
                return RandomSearch(self.problem, self.seed).describe()

        assert decisions(run(toy, path, optimizer=Untouchable(toy, 0))) == decisions(first)


@pytest.mark.parametrize("make", [RandomSearch, lambda problem, seed: RandomSearch(problem, seed)])
def test_an_optimizer_may_be_made_by_the_search(toy, make, tmp_path):
    made = search(toy, make, Budget(trials=4), tmp_path / "a.jsonl", seed=3)
    given = search(toy, RandomSearch(toy, 3), Budget(trials=4), tmp_path / "a.jsonl", seed=3)  # resumes the same log
    assert decisions(made) == decisions(given) and len(made) == 4


class TestDoors:
    """What is wrong is named in one line, and nothing is written."""

    @pytest.mark.parametrize("seed", [None, -1, 2**32, 0.5, True, "1"])
    @pytest.mark.parametrize("where", ["search", "optimizer"])
    def test_what_is_no_seed(self, toy, seed, where, tmp_path):
        own = seed if where == "optimizer" else 0
        with pytest.raises(UserError, match=r"seed: .*whole number from 0 to 4294967295"):
            run(toy, tmp_path / "log.jsonl", seed=seed, optimizer=RandomSearch(toy, own))
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("optimizer", [None, "evolution", lambda problem, seed: seed])
    def test_what_is_no_optimizer(self, toy, optimizer, tmp_path):
        with pytest.raises(UserError, match=r"search: .* is no optimizer"):
            search(toy, optimizer, Budget(trials=2), tmp_path / "log.jsonl", seed=0)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("makes", "said"),
        [
            (partial(Evolution, popsize=3), "Evolution: .*'popsize'"),
            (partial(partial(Evolution, pop_size=3), popsize=3), "Evolution: .*'popsize'"),
            (partial(Evolution, seed=1), "Evolution: too many"),
            (lambda problem: RandomSearch(problem, 0), "too many"),
            (Listed, "Listed: .*'configurations'"),
        ],
    )
    def test_what_cannot_be_called_with_problem_and_seed(self, toy, makes, said, tmp_path):
        with pytest.raises(UserError, match=f"search: optimizer .*{said}"):
            search(toy, makes, Budget(trials=2), tmp_path / "log.jsonl", seed=0)
        assert not list(tmp_path.iterdir())

    def test_an_error_within_what_makes_an_optimizer_stays_its_own(self, toy, tmp_path):
        with pytest.raises(TypeError, match="unsupported"):
            search(toy, lambda problem, seed: seed + None, Budget(trials=2), tmp_path / "log.jsonl", seed=0)

    @pytest.mark.parametrize("wrong", [{"executor": pool(2)}, {"executor": 2}, {"on_trial": True}])
    def test_what_is_no_executor_and_no_function(self, toy, wrong, tmp_path):
        ((name, value),) = wrong.items()
        with pytest.raises(UserError, match=re.escape(f"search: {name}={value!r}; give ")):
            run(toy, tmp_path / "log.jsonl", **wrong)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("path", [None, 3])
    def test_what_is_no_path(self, toy, path):
        with pytest.raises(UserError, match=f"search: log_path={path}"):
            run(toy, path)

    def test_workers_without_an_executor_are_told_to_take_turns(self, toy, two_workers, tmp_path, caplog):
        run(toy, tmp_path / "a.jsonl", workers=2, budget=Budget(trials=2), executor=two_workers)
        assert not caplog.text
        run(toy, tmp_path / "b.jsonl", workers=2, budget=Budget(trials=2))
        assert "workers=2 take turns" in caplog.text

    @pytest.mark.parametrize("epochs", [None, math.nan, -1, "9"])
    @pytest.mark.parametrize("budget", [Budget(epochs=20), Budget(trials=2)])
    def test_what_is_no_charge_foretold(self, epochs, budget, tmp_path):
        class Odd(Toy):
            def epochs(self, stages):
                return epochs

            def evaluate(self, job):
                return Outcome({"accuracy": 0.5, "precision": 1}, 1)

        with pytest.raises(UserError, match=f"problem toy: epochs: {epochs!r}"):
            run(Odd(), tmp_path / "log.jsonl", budget=budget)
        assert triallog.read(tmp_path / "log.jsonl").trials == []

    @pytest.mark.parametrize("other", [Toy(space=tiny_space()), Toy(high=27)])
    def test_an_optimizer_of_another_space_or_other_fidelities(self, toy, other, tmp_path):
        with pytest.raises(UserError, match="optimizer RandomSearch was made for toy"):
            run(toy, tmp_path / "log.jsonl", optimizer=RandomSearch(other, 0))
        assert not list(tmp_path.iterdir())
        assert len(run(toy, tmp_path / "log.jsonl", optimizer=RandomSearch(Toy([SIZE]), 0))) > 0

    def test_numpys_whole_numbers_are_seeds_and_budgets(self, toy, tmp_path):
        first = run(toy, tmp_path / "a.jsonl", seed=np.int64(3), budget=Budget(trials=np.int32(4)))
        assert decisions(first) == decisions(run(toy, tmp_path / "b.jsonl", seed=3, budget=Budget(trials=4)))

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"name": ""}, "name is ''"),
            ({"name": None}, "name is None"),
            ({"fidelity": (1, 9)}, r"fidelity is \(1, 9\); give it a Fidelity"),
            ({"objective": "accuracy"}, "objective is 'accuracy'"),
            ({"space": None}, "space is None"),
            ({"space": {"x": (0.0, 1.0)}}, r"space is \{'x'"),
            ({"constraints": PRECISION}, "constraints is Constraint"),
            ({"constraints": ("precision >= 0.5",)}, "constraints is .'precision"),
            ({"device": torch.device("cpu")}, "device is device"),
            ({"repeats": 0}, "repeats is 0"),
            ({"describe": lambda: {"data": Path("here")}}, "describe.*PosixPath"),
        ],
    )
    def test_what_is_no_problem(self, changes, said, tmp_path):
        toy = Toy()
        optimizer = RandomSearch(toy, 0)
        vars(toy).update(changes)
        with pytest.raises(UserError, match=said):
            run(toy, tmp_path / "log.jsonl", optimizer=optimizer)
        assert not list(tmp_path.iterdir())

    def test_what_is_no_budget(self, toy, tmp_path):
        with pytest.raises(UserError, match="budget=10"):
            run(toy, tmp_path / "log.jsonl", budget=10)

    @pytest.mark.parametrize(
        ("returned", "said"),
        [
            ({"accuracy": 0.5, "precision": 1.0}, "returned dict"),
            (None, "returned NoneType"),
            (Outcome({"accuracy": "0.5", "precision": 1}, 1), "accuracy.*'0.5'"),
            (Outcome({"accuracy": None, "precision": 1}, 1), "accuracy.*None"),
            (Outcome({"accuracy": 0.5, "precision": 1}, None), "epochs: None"),
            (Outcome({"accuracy": 0.5, "precision": 1}, np.nan), "epochs: nan"),
            (Outcome({"accuracy": 0.5, "precision": 1}, -1), "epochs: -1"),
            (Outcome({"accuracy": 0.5, "precision": 1, 5: 2.0}, 1), "5"),
            (Outcome({"accuracy": np.array([0.5, 0.6]), "precision": 1}, 1), "accuracy.*array"),
            (Outcome({"accuracy": torch.tensor([0.5, 0.6]), "precision": 1}, 1), "accuracy.*tensor"),
            (Outcome({"accuracy": 0.5, "precision": 1}, torch.ones(2)), "epochs: tensor"),
            (Outcome([0.5], 1), r"metrics \[0.5\]"),
            (Outcome({"accuracy": 0.5, "precision": 1}, 1, curve=[0.5]), r"curve=\[0.5\]"),
            (Outcome({"accuracy": 0.5, "precision": 1}, 1, curve={"loss": "0.5"}), r"curve 'loss'='0.5'"),
            (Outcome({"accuracy": 0.5, "precision": 1}, 1, curve={"loss": 0.5}), r"curve 'loss'=0.5"),
            (Outcome({"accuracy": 0.5, "precision": 1}, 1, outputs=None), "outputs=None"),
        ],
    )
    def test_what_is_no_outcome(self, returned, said, tmp_path):
        class Odd(Toy):
            def evaluate(self, job):
                return returned

        with pytest.raises(UserError, match=said):
            run(Odd(), tmp_path / "log.jsonl")
        assert triallog.read(tmp_path / "log.jsonl").trials == []

    @pytest.mark.parametrize("known", [{"size": "small"}, {"size": None}, None])
    def test_what_is_known_before_training_is_numbers(self, known, tmp_path):
        toy = Toy()
        toy.known = lambda configuration: known
        with pytest.raises(UserError, match="known returned the metric"):
            run(toy, tmp_path / "log.jsonl")
        assert triallog.read(tmp_path / "log.jsonl").trials == []

    def test_a_metric_that_is_no_finite_number_is_none_in_history_and_log_alike(self, tmp_path):
        """As of a configuration rejected because its size cannot be computed."""
        toy, path = Toy([SIZE]), tmp_path / "log.jsonl"
        toy.known = lambda configuration: {"size": 8.0 if configuration["norm"] else math.nan}
        listed = Listed(toy, 0, [CONFIGURATION | {"norm": norm} for norm in (False, True)])
        history = run(toy, path, optimizer=listed)
        assert [t.status for t in history] == ["rejected", "ok"] and "size" not in history.trials[0].metrics
        assert triallog.read(path).trials == history.trials
        path.write_bytes(path.read_bytes().replace(b'"metrics": {}', b'"metrics": {"size": null}'))
        assert triallog.read(path).trials == history.trials

    def test_decimals_and_fractions_are_numbers(self, tmp_path):
        class Exact(Toy):
            def evaluate(self, job):
                return Outcome({"accuracy": Decimal("0.5"), "precision": Fraction(1, 4)}, 9)

        trial = run(Exact(), tmp_path / "log.jsonl").trials[0]
        assert trial.metrics["accuracy"] == 0.5 and trial.metrics["precision"] == 0.25

    def test_what_evaluate_does_to_its_configuration_stays_there(self, tmp_path):
        class Popping(Toy):
            def evaluate(self, job):
                outcome = super().evaluate(job)
                job.configuration.clear()
                return outcome

        run(Popping(), tmp_path / "log.jsonl")
        run(Toy(), tmp_path / "other.jsonl")
        first, second = (triallog.read(tmp_path / name).trials for name in ("log.jsonl", "other.jsonl"))
        assert [t.configuration for t in first] == [t.configuration for t in second]


class TestFailures:
    @pytest.mark.parametrize("raised", [SystemExit(3), GeneratorExit(), BaseException("odd")])
    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_trial_that_would_leave_the_process_fails(self, raised, workers, two_workers, tmp_path):
        options = {"executor": two_workers, "workers": 2} if workers == 2 else {}
        history = run(Leaving(raised), tmp_path / "log.jsonl", budget=Budget(trials=3), **options)
        assert [t.status for t in history] == ["failed"] * 3 and type(raised).__name__ in history.trials[0].reason

    def test_an_interrupt_ends_the_search(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            run(Leaving(KeyboardInterrupt()), tmp_path / "log.jsonl")
        assert triallog.read(tmp_path / "log.jsonl").trials == []

    @pytest.mark.parametrize("kind", ["ENOSPC", "EROFS", "EDQUOT", "EACCES", "EIO", "EFBIG", "EMFILE", "EISDIR"])
    def test_a_disk_that_takes_nothing_ends_the_search_and_no_trial_is_to_blame(self, kind, tmp_path):
        toy, path = Leaving(OSError(getattr(errno, kind), os.strerror(getattr(errno, kind)))), tmp_path / "log.jsonl"
        with pytest.raises(UserError, match="run again"):
            run(toy, path)
        assert triallog.read(path).trials == []
        toy.raised = None
        assert len(run(toy, path)) == 6

    @pytest.mark.parametrize("kind", ["chained", "torch"])
    def test_a_full_disk_is_known_behind_another_error(self, kind, tmp_path):
        """`torch.save` tells a full disk by an error of its own, which names no reason."""
        error = RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 576 vs 534")
        if kind == "chained":
            error = RuntimeError("could not save")
            error.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with pytest.raises(UserError, match=r"No space left|written whole"):
            run(Leaving(error), tmp_path / "log.jsonl")
        assert triallog.read(tmp_path / "log.jsonl").trials == []

    def test_an_executor_that_broke_is_one_line(self, tmp_path):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
            with pytest.raises(BrokenProcessPool):
                executor.submit(os._exit, 1).result()
            with pytest.raises(UserError, match=r"takes no more jobs .* run again to resume"):
                run(Toy(), tmp_path / "log.jsonl", executor=executor)

    def test_a_file_that_one_configuration_lacks_fails_its_trial(self, tmp_path):
        toy = Leaving(FileNotFoundError(errno.ENOENT, "No such file"))
        assert run(toy, tmp_path / "log.jsonl", budget=Budget(trials=2)).trials[0].status == "failed"

    def test_a_value_worse_than_worst_counts_as_a_failure_and_is_told_once(self, tmp_path, caplog):
        toy = Toy()
        toy.objective = Objective("accuracy", best=1.0, worst=0.45)
        history = run(toy, tmp_path / "log.jsonl", budget=Budget(trials=12))
        beyond = [t for t in history if t.metrics["accuracy"] < 0.45]
        assert len(beyond) > 1 and caplog.text.count("worse than the objective's worst") == 1
        assert {toy.cost(t) for t in beyond} == {toy.objective.worst_cost}

    def test_a_log_deleted_under_a_running_search_is_noticed(self, toy, tmp_path):
        path = tmp_path / "log.jsonl"
        with pytest.raises(LogWriteError, match="deleted"):
            run(toy, path, on_trial=lambda trial, history: path.unlink(missing_ok=True))

    @pytest.mark.parametrize("change", [lambda p: os.truncate(p, 0), lambda p: p.write_bytes(p.read_bytes() + b"x")])
    def test_a_log_changed_under_a_running_search_is_noticed(self, toy, change, tmp_path):
        path = tmp_path / "log.jsonl"
        with pytest.raises(LogWriteError, match="changed while the search ran"):
            run(toy, path, on_trial=lambda trial, history: change(path))
        assert len(run(toy, path)) == 6

    def test_a_reason_begins_with_the_first_words(self, tmp_path):
        history = run(Leaving(ValueError("\n  first\nsecond")), tmp_path / "log.jsonl", budget=Budget(trials=1))
        assert history.trials[0].reason == "ValueError: first"

    def test_the_reason_is_one_line(self, tmp_path):
        history = run(Toy(fail="raise"), tmp_path / "log.jsonl", budget=Budget(trials=12))
        assert {t.reason for t in history if t.status == "failed"} == {"RuntimeError: out of luck"}

    def test_a_problem_that_always_fails_is_given_up_loudly_and_goes_on_once_mended(self, tmp_path):
        class Breakable(Toy):
            broken = True

            def evaluate(self, job):
                if self.broken:
                    raise MemoryError("no room")
                return super().evaluate(job)

        toy, path = Breakable(), tmp_path / "log.jsonl"
        for tries in (1, 2):
            with pytest.raises(UserError, match="50 trials in a row failed, the last with 'MemoryError: no room'"):
                run(toy, path, budget=Budget(trials=200))
            logged = triallog.read(path)
            assert len(logged.trials) == 50 * tries and logged.end is None
        toy.broken = False
        statuses = [t.status for t in run(toy, path, budget=Budget(trials=200))]
        assert statuses == ["failed"] * 100 + ["ok"] * 100

    def test_what_only_the_user_can_mend_ends_the_search(self, tmp_path):
        class NoData(Toy):
            def evaluate(self, job):
                raise UserError("no data")

        with pytest.raises(UserError, match="no data"):
            run(NoData(), tmp_path / "log.jsonl")

    @pytest.mark.parametrize(
        ("declared", "said"),
        [
            ({"objective": Objective("acuracy")}, "no metric 'acuracy' among those it gave: .*accuracy"),
            ({"constraints": (Constraint("precison", ">=", 0.5),)}, "no metric 'precison'"),
            ({"objective": Objective("accuracy", best=0.01)}, "beyond the objective's best=0.01"),
            ({"objective": Objective("accuracy", best=0.99, worst=1.0)}, "beyond the objective's best=0.99"),
        ],
    )
    def test_a_problem_that_breaks_its_own_declarations_is_refused_and_nothing_logged(self, declared, said, tmp_path):
        toy, path = Toy(), tmp_path / "log.jsonl"
        vars(toy).update(declared)
        with pytest.raises(UserError, match=said):
            run(toy, path)
        assert triallog.read(path).trials == []

    def test_numbers_and_arrays_of_other_libraries_are_logged_as_pythons(self, tmp_path):
        class Foreign(Toy):
            def evaluate(self, job):
                outcome = super().evaluate(job)
                metrics = {"accuracy": torch.tensor(outcome.metrics["accuracy"]), "precision": np.float32(0.5)}
                outputs = {"array": np.arange(3), "deep": [{"tensor": torch.ones(2, 1)}, np.float64("nan")]}
                return Outcome(metrics, np.int64(9), {"loss": [np.float32(0.25)]}, outputs)

        path = tmp_path / "log.jsonl"
        first = run(Foreign(), path, budget=Budget(epochs=30)).trials[0]
        (read, *_) = triallog.read(path).trials
        assert type(first.metrics["accuracy"]) is float and read.metrics == first.metrics and read.epochs == 9
        assert read.outputs == {"array": [0, 1, 2], "deep": [{"tensor": [[1.0], [1.0]]}, None]}
        assert read.curve == {"loss": [0.25]}

    @pytest.mark.parametrize(("output", "said"), [({1, 2}, "set"), (RECURSIVE, "recursion")])
    def test_what_json_cannot_hold_is_named(self, output, said, tmp_path):
        class Odd(Toy):
            def evaluate(self, job):
                return Outcome({"accuracy": 0.5}, 1, outputs={"seen": output})

        with pytest.raises(UserError, match=f"JSON cannot hold .*{said}"):
            run(Odd(), tmp_path / "log.jsonl")

    @pytest.mark.parametrize("workers", [0, -1, 1.5])
    def test_no_workers_are_refused_before_the_log_is_touched(self, toy, workers, tmp_path):
        with pytest.raises(UserError, match=f"workers: {workers}"):
            run(toy, tmp_path / "log.jsonl", workers=workers)
        assert not (tmp_path / "log.jsonl").exists()

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ([(3, 3), (5, 5)], r"\(3, 3\) of 'kernel' is no text"),
            ([1.0, np.inf], "inf of 'kernel' is no text"),
            ([1.0, np.nan], "nan of 'kernel' is no text"),
            (["\ud800", "b"], "of 'kernel' is no text"),
            (Constant("kernel", (3, 3)), r"\(3, 3\) of 'kernel' is no text"),
            (Constant("kernel", np.inf), "inf of 'kernel' is no text"),
        ],
    )
    def test_choices_that_json_would_change_are_refused(self, values, said, tmp_path):
        with pytest.raises(UserError, match=said):
            run(Toy(space=ConfigurationSpace({"kernel": values})), tmp_path / "log.jsonl")

    def test_a_killed_worker_fails_its_trial_only(self, two_workers, tmp_path):
        history = run(Toy(fail="kill"), tmp_path / "log.jsonl", executor=two_workers, workers=2)
        killed = [t for t in history if t.status == "failed"]
        assert killed and all(not t.configuration["norm"] for t in killed)
        assert all(t.configuration["norm"] for t in history if t.status == "ok")
        assert len(history) == 6

    @pytest.mark.usefixtures("few_draws")
    def test_impossible_constraints_are_said_plainly(self, tmp_path, caplog):
        path = tmp_path / "log.jsonl"
        unreachable = Toy([Constraint("precision", ">=", 2.0)])
        assert "none feasible (precision >= 2 not met)" in unreachable.verdict(run(unreachable, path))
        assert not caplog.text
        untrainable = Toy([Constraint("size", "<=", 0)])
        assert len(run(untrainable, tmp_path / "other.jsonl")) == 0
        assert "other: the optimizer found no configuration at all" in caplog.text

    def test_a_deadline_marks_the_trial_cut_and_it_is_no_incumbent(self, tmp_path):
        class Slow(Toy):
            def evaluate(self, job):
                return Outcome({"accuracy": 1.0}, 1, cut=True)

        toy = Slow()
        history = run(toy, tmp_path / "log.jsonl")
        assert {t.status for t in history} == {"cut"} and toy.incumbent(history) is None


class TestTrialSeeds:
    def test_a_promoted_trial_keeps_its_ancestors_seed_and_names_its_stages(self, tmp_path):
        jobs = []

        class Recording(Toy):
            def evaluate(self, job):
                jobs.append(job)
                return super().evaluate(job)

        toy = Recording()
        history = run(toy, tmp_path / "log.jsonl", budget=Budget(trials=40), optimizer=evolution(toy))
        seeds = {}
        for trial, job in zip(history, jobs, strict=True):
            root = history.lineage(trial.id)[0]
            assert seeds.setdefault(root, job.seed) == job.seed
            assert job.stages == tuple(history.suggestions[i].fidelity for i in history.lineage(trial.id))
            assert (job.save is None) == trial.final and (job.restore is None) == (trial.parent is None)
        assert len(set(seeds.values())) == len(seeds)


class TestCheckpoints:
    def test_only_the_newest_are_kept_and_none_after_the_end(self, tmp_path, monkeypatch):
        monkeypatch.setattr("jahslib.search.loop.KEPT_CHECKPOINTS", 5)
        counts = []

        class Saving(Toy):
            def evaluate(self, job):
                if job.save:
                    job.save.mkdir(parents=True)
                return super().evaluate(job)

        def look(trial, history):
            counts.append(len(list((tmp_path / "log.jsonl.checkpoints").glob("*"))))
            if trial.parent is not None:
                assert not (tmp_path / f"log.jsonl.checkpoints/trial-{trial.parent:05d}").exists()

        toy = Saving()
        run(toy, tmp_path / "log.jsonl", budget=Budget(trials=60), optimizer=evolution(toy), on_trial=look)
        assert max(counts) == 5
        assert not (tmp_path / "log.jsonl.checkpoints").exists()


class TestLog:
    def test_one_line_of_pandas_reads_it(self, toy, tmp_path):
        path = tmp_path / "log.jsonl"
        history = run(toy, path, study="s", method="m", profile="smoke")
        table = pd.read_json(path, lines=True).query("kind == 'trial'")
        assert list(table.id) == [t.id for t in history] and set(table.method) == {"m"}
        header = json.loads(path.read_text().splitlines()[0])
        assert header["profile"] == "smoke" and header["versions"]["torch"] and header["device"].startswith("cpu")

    def test_another_problems_log_is_refused_and_untouched(self, toy, tmp_path):
        path = tmp_path / "log.jsonl"
        run(toy, path)
        before = path.read_bytes()
        with pytest.raises(UserError, match=r"problem.fidelity: \[1, 9\] in the log, \[1, 27\] now"):
            run(Toy([SIZE, PRECISION], high=27), path)
        with pytest.raises(UserError, match=r"seed"):
            run(toy, path, seed=1)
        assert path.read_bytes() == before

    def test_a_log_without_a_trial_is_no_other_search(self, tmp_path):
        """A search that was refused after its header was written; mended, it is another one."""
        path = tmp_path / "log.jsonl"
        for objective in (Objective("precision"), Objective("accuracy")):
            toy = Toy()
            toy.objective = objective
            triallog.TrialLog(path, {"fingerprint": fingerprint(toy, RandomSearch(toy, 0), 0)}).close()
        assert len(run(toy, path, optimizer=RandomSearch(toy, 0))) and path.read_bytes().count(b'"header"') == 1

    def test_fresh_starts_over(self, toy, tmp_path):
        path = tmp_path / "log.jsonl"
        run(toy, path)
        assert len(run(toy, path, seed=1, fresh=True)) == 6

    def test_a_torn_last_line_is_cut_and_reported(self, toy, tmp_path, caplog):
        path = tmp_path / "log.jsonl"
        whole = run(toy, path)
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:3]) + lines[3][:40])
        assert decisions(run(toy, path)) == decisions(whole)
        assert "cut off a torn last line of 40 bytes" in caplog.text

    def test_damage_elsewhere_is_refused(self, toy, tmp_path):
        path = tmp_path / "log.jsonl"
        run(toy, path)
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(lines[0] + b"{broken\n" + b"".join(lines[2:]))
        with pytest.raises(UserError, match="line 2 is damaged"):
            run(toy, path)

    @pytest.mark.parametrize(
        "changes",
        [
            {"id": -1},
            {"id": "3"},
            {"asked": 0},
            {"asked": 10**6},
            {"parent": 7},
            {"status": "fine"},
            {"epochs": None},
            {"fidelity": None},
            {"metrics": [1]},
            {"metrics": {"accuracy": "high"}},
            {"final": "no"},
            {"reason": 3},
            {"finished": "yesterday"},
            {"configuration": None},
            {"kind": "end"},
            {"kind": "header"},
        ],
    )
    def test_a_line_of_wrong_values_is_refused(self, toy, changes, tmp_path):
        path = tmp_path / "log.jsonl"
        run(toy, path)
        lines = path.read_text().splitlines()
        lines[3] = json.dumps(json.loads(lines[3]) | changes)
        path.write_text("\n".join(lines) + "\n")
        with pytest.raises(UserError, match="line 4 is not part of a trial log"):
            run(toy, path)

    @pytest.mark.parametrize("metrics", [{}, {"accuracy": None, "precision": 0.5, "size": 3}])
    def test_a_trial_without_the_problems_metrics_is_refused(self, toy, metrics, tmp_path):
        path = tmp_path / "log.jsonl"
        run(toy, path)
        records = [json.loads(line) for line in path.read_text().splitlines()]
        next(r for r in records if r.get("status") == "ok")["metrics"] = metrics
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        with pytest.raises(UserError, match="has no accuracy; move the file away"):
            run(toy, path)

    def test_deep_nesting_and_another_format_are_refused(self, toy, tmp_path):
        path = tmp_path / "log.jsonl"
        run(toy, path)
        lines = path.read_text().splitlines()
        path.write_text("\n".join([lines[0], "[" * 100_000, *lines[1:]]) + "\n")
        with pytest.raises(UserError, match="line 2 is damaged"):
            run(toy, path)
        for other, said in ((0, 0), (2, 2), (99, 99), ("1.0", 1.0), ("true", True)):
            path.write_text("\n".join([lines[0].replace('"format": 1', f'"format": {other}'), *lines[1:]]) + "\n")
            with pytest.raises(UserError, match=f"format {said}"):
                run(toy, path)

    def test_a_finished_log_is_read_where_nothing_can_be_written(self, toy, tmp_path, monkeypatch):
        path = tmp_path / "log.jsonl"
        first = run(toy, path)

        def read_only(file, mode="r", *args, **options):
            if "a" in mode:
                raise OSError(errno.EROFS, "Read-only file system")
            return open(file, mode, *args, **options)

        monkeypatch.setattr(triallog, "open", read_only, raising=False)
        assert decisions(run(toy, path)) == decisions(first)
        assert decisions(run(toy, path, budget=Budget(trials=3))) == decisions(first)[:3]
        for more in ({"budget": Budget(trials=9)}, {"fresh": True}):
            with pytest.raises(LogWriteError, match=r"cannot be extended \(Read-only file system\)"):
                run(toy, path, **more)
        assert decisions(run(toy, path)) == decisions(first)

    def test_starting_over_spares_what_is_no_log_and_no_checkpoint(self, toy, tmp_path):
        table, notes = tmp_path / "data.csv", tmp_path / "log.jsonl.checkpoints" / "notes"
        table.write_text("a,b\n1,2\n")
        with pytest.raises(UserError, match="no trial log"):
            run(toy, table, fresh=True)
        notes.parent.mkdir()
        notes.write_text("mine")
        run(toy, tmp_path / "log.jsonl", optimizer=evolution(toy))
        assert table.read_text() == "a,b\n1,2\n" and notes.read_text() == "mine"

    @pytest.mark.parametrize("content", ['{"important": [1, 2]}', '{"important": 1}\n', "notes\n", "[]\n", "1\n"])
    def test_a_file_that_is_no_log_is_refused_and_untouched(self, toy, content, tmp_path):
        path = tmp_path / "log.jsonl"
        path.write_text(content)
        with pytest.raises(UserError, match="log"):
            run(toy, path)
        assert path.read_text() == content

    @pytest.mark.parametrize("length", [0, 5, 30])
    def test_a_header_torn_at_birth_is_begun_again(self, toy, length, tmp_path):
        path = tmp_path / "log.jsonl"
        whole = run(toy, path)
        path.write_bytes(path.read_bytes()[:length])
        assert decisions(run(toy, path)) == decisions(whole)

    @pytest.mark.parametrize("damage", ["twice", "without", "number"])
    def test_lines_that_are_no_trials_are_refused(self, toy, damage, tmp_path):
        path = tmp_path / "log.jsonl"
        run(toy, path)
        lines = path.read_bytes().splitlines(keepends=True)
        odd = {"twice": lines[1], "without": b'{"kind": "trial", "id": 7}\n', "number": b"123\n"}[damage]
        path.write_bytes(b"".join([*lines[:3], odd, *lines[3:]]))
        with pytest.raises(UserError, match="line 4 is not part of a trial log"):
            run(toy, path)

    def test_a_place_that_cannot_be_written_is_named(self, toy, tmp_path):
        (tmp_path / "file").write_text("")
        for place in (tmp_path, tmp_path / "file" / "log.jsonl"):
            with pytest.raises(UserError, match=f"trial log {place}: cannot be"):
                run(toy, place)

    def test_a_log_in_use_is_refused(self, toy, tmp_path):
        path = tmp_path / "log.jsonl"
        held = triallog.TrialLog(path, {"fingerprint": {}})
        with pytest.raises(UserError, match="in use"):
            triallog.TrialLog(path, {"fingerprint": {}})
        held.close()

    def test_a_full_disk_stops_the_search_with_the_log_intact(self, toy, tmp_path):
        path = tmp_path / "log.jsonl"
        whole = run(toy, tmp_path / "whole.jsonl")

        def on_a_full_disk():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4500, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            try:
                run(toy, path)
            except LogWriteError as error:
                os._exit(1 if "run again to resume" in str(error) else 2)

        process = forked(on_a_full_disk)
        process.join()
        assert process.exitcode == 1
        kept = triallog.read(path)
        assert path.read_bytes().endswith(b"\n") and 0 < len(kept.trials) < 6
        assert decisions(run(toy, path)) == decisions(whole)

    def test_a_failed_write_leaves_whole_lines(self, toy, tmp_path, monkeypatch):
        path = tmp_path / "log.jsonl"
        log = triallog.TrialLog(path, {"fingerprint": {}})
        before = path.read_bytes()

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(LogWriteError, match="No space left"):
            log.append(Trial({}, 1, id=0))
        assert path.read_bytes() == before

    def test_trials_that_end_together_are_forced_to_disk_together_before_the_next_is_asked(self, tmp_path, monkeypatch):
        class TwoAtOnce(Executor):
            """Both of two jobs end before either is told of."""

            threads = 1

            def submit(self, fn, /, *args, **kwargs):
                return InProcess().submit(fn, *args, **kwargs)

        class Asked(RandomSearch):
            def ask(self, history):
                on_disk.append((len(history.trials), synced[-1]))
                return super().ask(history)

        toy, path, on_disk, synced = Toy(), tmp_path / "log.jsonl", [], [0]
        real = os.fsync
        monkeypatch.setattr(
            os, "fsync", lambda file: (real(file), synced.append(len(path.read_bytes().splitlines()) - 1))
        )
        search(toy, Asked(toy, 0), Budget(trials=6), path, seed=0, executor=TwoAtOnce(), workers=2)
        assert on_disk == [(n, n) for n in (0, 0, 2, 2, 4, 4)]
        assert synced[1:] == [0, 2, 4, 6, 7]  # the header, three times two trials, the end

    def test_what_ends_together_with_an_error_is_kept(self, tmp_path):
        class FirstInTrouble(Toy):
            def evaluate(self, job):
                evaluated.append(job.configuration)
                if len(evaluated) == 1:
                    raise UserError("the disk is full")
                return super().evaluate(job)

        evaluated, path, given = [], tmp_path / "log.jsonl", {"seed": 0, "workers": 2}
        with pytest.raises(UserError, match="the disk is full"):
            search(FirstInTrouble(), RandomSearch, Budget(trials=2), path, **given)
        assert [t.configuration for t in triallog.read(path).trials] == evaluated[1:]
        assert len(search(FirstInTrouble(), RandomSearch, Budget(trials=2), path, **given)) == 2
        assert len(evaluated) == 3 and evaluated[2] == evaluated[0]


class TestKill:
    def test_sigkill_at_random_moments(self, tmp_path):
        """The same command until it ends: same trials as an uninterrupted run, none evaluated twice after logging."""
        toy = Toy([SIZE, PRECISION], delay=0.004)
        whole = run(toy, tmp_path / "whole.jsonl", budget=Budget(trials=60), optimizer=evolution(toy))
        path = tmp_path / "log.jsonl"
        rng, kills, lines = np.random.default_rng(0), 0, []
        while True:
            process = forked(partial(run, toy, path, budget=Budget(trials=60), optimizer=evolution(toy)))
            if kills < 5:
                time.sleep(rng.uniform(0.02, 0.2))
                process.kill()
            process.join()
            now = path.read_bytes().splitlines(keepends=True) if path.exists() else []
            whole_lines = [line for line in lines if line.endswith(b"\n")]
            if len(whole_lines) > 1:  # a log that holds no trial is begun anew, and may be cut between two steps
                assert now[: len(whole_lines)] == whole_lines
            lines = now
            if process.exitcode == 0:
                break
            kills += 1
        assert kills >= 3
        assert decisions(triallog.read(path).trials) == decisions(whole)


def test_listed_proposes_its_configurations_in_turn(toy, tmp_path):
    wanted = [{"layers": 1, "rate": 1e-3, "kernel": k, "norm": True} for k in (3, 5, 7)]
    history = run(toy, tmp_path / "log.jsonl", optimizer=Listed(toy, 0, wanted), budget=Budget(trials=10))
    assert [t.configuration for t in history] == wanted


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rat": 1e-3}, "rat"),
        ({"rate": 3.0}, "rate"),
        ({"rate": None}, "rate"),
        ({"rate": [1e-3]}, ""),  # ConfigSpace does not say of which
        ({"kernel": 4}, "kernel"),
        ({"width": 8}, "8"),  # it is not active
    ],
)
def test_what_is_listed_outside_the_space_is_refused_at_the_door(toy, changes, named, tmp_path):
    with pytest.raises(UserError, match=rf"problem toy: .*outside its space.*{named}"):
        run(toy, tmp_path / "log.jsonl", optimizer=Listed(toy, 0, [CONFIGURATION, CONFIGURATION | changes]))
    assert not (tmp_path / "log.jsonl").exists()


@pytest.mark.parametrize("listed", [{}, {"kernel": 5, "layers": 1, "norm": True}, "rate", ["rate"], None])
def test_what_is_listed_is_a_whole_configuration(toy, listed, tmp_path):
    with pytest.raises(UserError, match=re.escape(repr(listed))):
        run(toy, tmp_path / "log.jsonl", optimizer=Listed(toy, 0, [listed]))


def test_a_listed_term_is_one_of_the_grammar_with_its_hyperparameters(tmp_path):
    space = GrammarSpace(Grammar("S -> a | b"), ConfigurationSpace({"rate": (0.0, 1.0)}))
    problem, legal = Function("terms", space, len, worst=9.0), {"architecture": "a", "rate": 0.5}
    for listed in (legal | {"architecture": "c"}, {"term": "a"}, legal | {"rate": 2.0}):
        with pytest.raises(UserError, match=r"problem terms: .*outside its space"):
            run(problem, tmp_path / "log.jsonl", optimizer=Listed(problem, 0, [listed]))
    assert len(run(problem, tmp_path / "log.jsonl", optimizer=Listed(problem, 0, [legal]))) == 1


@pytest.mark.parametrize("label", ["study", "method", "profile"])
@pytest.mark.parametrize("value", [None, 7, b"rs"])
def test_labels_are_texts(toy, label, value, tmp_path):
    with pytest.raises(UserError, match=rf"{label}={value!r}"):
        run(toy, tmp_path / "log.jsonl", **{label: value})
    assert not (tmp_path / "log.jsonl").exists()


def test_local_processes_refuse_no_workers():
    with pytest.raises(UserError, match="workers"):
        LocalProcesses(0)


def test_a_log_of_listed_configurations_goes_on_with_a_longer_or_shorter_list_and_refuses_another(toy, tmp_path):
    first, second = CONFIGURATION | {"norm": False}, CONFIGURATION | {"norm": True}

    def trained(configurations, name="log", trials=10):
        given = {"optimizer": Listed(toy, 0, configurations), "budget": Budget(trials=trials)}
        return [(t.configuration, t.metrics) for t in run(toy, tmp_path / f"{name}.jsonl", **given)]

    assert len(trained([first])) == 1
    both = trained([first, second])
    assert both == trained([first, second], "in_one_go")
    assert trained([first], trials=1) == both[:1]
    assert trained([first, second]) == both
    with pytest.raises(UserError, match="configurations"):
        trained([second, first])


def test_what_was_lost_in_flight_and_is_not_proposed_again_is_not_trained(toy, tmp_path):
    path, listed = tmp_path / "log.jsonl", [CONFIGURATION | {"rate": rate} for rate in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)]

    def trained(count):
        history = run(toy, path, optimizer=Listed(toy, 0, listed[:count]), budget=Budget(seconds=100.0))
        return {t.id: t.configuration for t in history}

    whole = trained(4)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"id": 2' not in line and '"kind": "end"' not in line))
    assert trained(2) == {i: c for i, c in whole.items() if i != 2}
    assert replay(Listed(toy, 0, listed[:2]), path).trial == 3
    assert trained(5) == whole | {4: listed[4]}
