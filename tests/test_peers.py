"""How peers are charged and run, by a peer that suggests what it is told to; only Optuna's is asked for real."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import __main__ as command
from benchmarks.peers import registry, tables
from benchmarks.peers.base import Peer, decoded, parameters, rounded, rungs
from benchmarks.peers.with_smac import sweep
from jahslib.core.problem import Constraint, Fidelity
from jahslib.errors import UserError
from jahslib.search import triallog
from jahslib.search.search import Budget, search
from jahslib.spaces import configurations as spaces
from tests.conftest import Toy, rich_space, tiny_space

A, B = ({"kernel": kernel, "norm": True} for kernel in (3, 5))


class Scripted(Peer):
    """Suggests `script`, and keeps what it was told."""

    package = "numpy"
    script = ()

    def begin(self):
        self.left, self.told = list(self.script), []

    def suggest(self):
        return self.left.pop(0) if self.left else None

    def tell(self, trial):
        self.told.append((trial.fidelity, self.cost(trial)))


class Failing(Scripted):
    def suggest(self):
        raise RuntimeError("does not run here")


class OfManyFidelities(Scripted):
    many_fidelities = True


def scripted(problem, *script):
    peer = Scripted(problem, 0, trainings=2)
    peer.script = script
    return peer


@pytest.fixture
def toy():
    return Toy(space=tiny_space())


def ran(peer, tmp_path, epochs=1000):
    return search(peer.problem, peer, Budget(epochs=epochs), tmp_path / "log.jsonl", seed=0)


def test_a_configuration_that_comes_back_higher_is_continued_and_pays_the_difference(toy, tmp_path):
    history = ran(scripted(toy, (A, 1), (B, 3), (A, 3), (A, 9)), tmp_path)
    assert [(t.parent, t.epochs, t.final) for t in history] == [
        (None, 1, False),
        (None, 3, False),
        (0, 2, False),
        (2, 6, True),
    ]


def test_a_configuration_that_comes_back_no_higher_is_trained_anew(toy, tmp_path):
    history = ran(scripted(toy, (A, 3), (A, 3), (A, 1)), tmp_path)
    assert [(t.parent, t.epochs) for t in history] == [(None, 3), (None, 3), (None, 1)]


def test_the_first_suggestion_that_the_budget_does_not_pay_for_ends_it(toy, tmp_path):
    history = ran(scripted(toy, (A, 3), (B, 3), (A, 9), (B, 1)), tmp_path, epochs=11)
    assert [t.epochs for t in history] == [3, 3] and history.spent == 6


def test_fidelities_are_rounded_up_and_told_as_they_were_trained(toy, tmp_path):
    peer = scripted(toy, (A, 2.3), (B, 9.000000001))
    assert [t.fidelity for t in ran(peer, tmp_path)] == [3, 9]
    assert peer.told[0][0] == 3
    assert rounded(Fidelity(0.1, 1.0, "share"), 0.05) == 0.1


def test_what_is_infeasible_is_told_with_a_penalty(tmp_path):
    toy = Toy([Constraint("precision", ">=", 0.6)], space=tiny_space())
    peer = scripted(toy, (A, 9), (B, 9))
    trials = list(ran(peer, tmp_path))
    assert [cost for _, cost in peer.told] == [toy.penalised_cost(t) for t in trials]
    assert peer.told[0][1] > 1 >= peer.told[1][1]


def test_a_method_of_many_fidelities_refuses_a_problem_of_one():
    one = Toy(space=tiny_space())
    one.fidelity = Fidelity(9, 9)
    with pytest.raises(UserError, match="toy has no lower fidelity"):
        OfManyFidelities(one, 0, trainings=1)


def test_halving_looks_at_powers_and_the_end():
    assert rungs(Fidelity(1, 52)) == [1, 3, 9, 27, 52] and rungs(Fidelity(1, 9)) == [1, 3, 9]


def test_a_sweep_of_hyperband_is_counted():
    """Brackets of 9, 5 and 3 configurations: 9 + 3 + 1, 5 + 1 and 3 evaluations."""
    assert sweep(Fidelity(1, 9)) == (22, pytest.approx(7 / 3 + 7 / 3 + 3))


def test_every_kind_of_hyperparameter_survives_the_way_there_and_back():
    space, rng = rich_space(), np.random.default_rng(0)
    for _ in range(50):
        told = {}
        for p in parameters(space):
            told[p.name] = rng.uniform(*p.bounds) if p.kind == "float" else rng.integers(*p.bounds, endpoint=True)
        configuration = decoded(space, told)
        assert configuration == spaces.complete(space, configuration)
        assert configuration["kernel"] == [3, 5, 7][told["kernel"]] and configuration["fixed"] == "as ever"


def test_hyperband_of_optuna_pauses_at_rungs_and_stops_some(tmp_path):
    pytest.importorskip("optuna")
    from benchmarks.peers.with_optuna import OptunaHyperband

    toy = Toy()
    first, second = (
        list(search(toy, OptunaHyperband(toy, 1, 8), Budget(epochs=72), tmp_path / f"{i}.jsonl", seed=1))
        for i in range(2)
    )
    reached = {spaces.key(t.configuration): t.fidelity for t in first}
    assert {t.fidelity for t in first} == {1, 3, 9} and min(reached.values()) < 9
    assert all(t.parent == (t.id - 1 if t.fidelity > 1 else None) for t in first)
    assert [t.configuration for t in first] == [t.configuration for t in second]


class TestCommand:
    @pytest.fixture(autouse=True)
    def two_peers(self, monkeypatch, toy):
        kinds = {"good": Scripted, "bad": Failing}
        monkeypatch.setattr(Scripted, "script", ((A, 9), (B, 9)))
        monkeypatch.setattr(command, "ENTRIES", {name: registry.Entry(name) for name in kinds})
        monkeypatch.setattr(command, "make", lambda name, problem, seed, n: kinds[name](problem, seed, n))
        monkeypatch.setattr(command, "benchmark", lambda name: argparse.Namespace(problem=toy))

    def options(self, results: Path):
        return argparse.Namespace(results=results, seeds="0-1", trainings=2, final=False)

    def test_a_tool_that_fails_leaves_its_error_and_the_others_go_on(self, tmp_path, capsys):
        assert command._searches(["bad", "good"], ["toy"], self.options(tmp_path)) == 2
        assert "bad 0: RuntimeError: does not run here" in capsys.readouterr().out
        assert "does not run here" in tables.log_path(tmp_path, "toy", "bad", 1).with_suffix(".error").read_text()
        assert len(tables.logs(tmp_path, "toy", "good")) == 2

    def test_finished_searches_are_kept_and_others_begin_anew(self, tmp_path, capsys):
        options = self.options(tmp_path)
        command._searches(["good"], ["toy"], options)
        kept, cut = (tables.log_path(tmp_path, "toy", "good", seed) for seed in (0, 1))
        before, whole = kept.read_bytes(), cut.read_bytes()
        cut.write_bytes(b"\n".join(whole.split(b"\n")[:2]) + b"\n")
        capsys.readouterr()
        command._searches(["good"], ["toy"], options)
        assert kept.read_bytes() == before and capsys.readouterr().out == "toy good 1: 2 trials\n"
        assert triallog.read(cut).end["reason"] == "epochs" or triallog.read(cut).end["reason"] == "optimizer"


def test_tasks_kept_for_the_final_run_need_to_be_asked_for():
    tuning, final = command._chosen("lcbench", False), command._chosen("lcbench", True)
    assert (len(tuning), len(final)) == (12, 22) and not set(tuning) & set(final)
    with pytest.raises(UserError, match="'lcbench-167104'"):
        command._chosen("lcbench-167104", False)
    assert command._chosen("mlp-car,lcbench-167104", True) == ["mlp-car", "lcbench-167104"]
