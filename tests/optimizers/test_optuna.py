import json
import logging
import pickle
import warnings
from functools import partial

import numpy as np
import pytest
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    Constant,
    EqualsCondition,
    Float,
    ForbiddenEqualsClause,
    GreaterThanCondition,
    Integer,
    NormalFloatHyperparameter,
    NotEqualsCondition,
    OrConjunction,
    OrdinalHyperparameter,
)

from jahslib.core.problem import Constraint, Fidelity, Objective, Outcome, Problem
from jahslib.core.trials import History, Suggestion, Trial, key
from jahslib.errors import UserError
from jahslib.optimizers.optuna import OptunaSampler
from jahslib.optimizers.successive_halving import Hyperband
from jahslib.search import Budget, search, triallog
from jahslib.spaces import configurations as spaces
from tests.conftest import PRECISION, SIZE, Toy, decisions

SAMPLERS = {
    "TPESampler": {"n_startup_trials": 4},
    "GPSampler": {"n_startup_trials": 4},
    "RandomSampler": {},
    "CmaEsSampler": {},
    "NSGAIISampler": {"population_size": 5},
    "QMCSampler": {},
}
ALL = pytest.mark.parametrize("sampler", SAMPLERS)


def mixed_space():
    """Two levels of conditions, one of them on a parent that may itself be inactive."""
    space = ConfigurationSpace()
    rate, units = Float("rate", (1e-5, 0.1), log=True), Integer("units", (1, 1000), log=True)
    kind = Categorical("kind", ["auto", 1, "1", 2.5])
    depth, width = OrdinalHyperparameter("depth", [1, 2, 4]), Integer("width", (3, 9))
    extra, other = Float("extra", (-1.0, 1.0)), Categorical("other", [True, False])
    space.add(rate, units, kind, depth, width, extra, other)
    space.add(Constant("fixed", "yes"), Categorical("only", ["one"]))
    space.add(GreaterThanCondition(width, depth, 1), EqualsCondition(extra, width, 5))
    space.add(OrConjunction(NotEqualsCondition(other, kind, "auto"), EqualsCondition(other, depth, 4)))
    return space


def made(problem, sampler="TPESampler", seed=0, **options):
    return OptunaSampler(problem, seed, sampler, SAMPLERS[sampler] | options)


class Bowl(Problem):
    """Minimal at 1 in four dimensions, where it is 0; `worst` is what the corner costs. `floor`: x0 may be no less."""

    name, fidelity, objective = "bowl", Fidelity(1, 9), Objective("loss", best=0.0, worst=150.0)

    def __init__(self, floor=None, maximise=False):
        self.space = ConfigurationSpace({f"x{i}": (-5.0, 5.0) for i in range(4)})
        self.constraints = () if floor is None else (Constraint("x0", ">=", floor),)
        self.sign = -1 if maximise else 1
        if maximise:
            self.objective = Objective("loss", best=0.0, worst=-150.0)

    def evaluate(self, job):
        c = job.configuration
        return Outcome({"loss": self.sign * sum((v - 1) ** 2 for v in c.values()), "x0": c["x0"]}, 9)


class RoundedBowl(Bowl):
    """Logarithmic scales, where rounding to 13 places takes most digits."""

    def __init__(self):
        super().__init__()
        self.space = ConfigurationSpace()
        self.space.add(*(Float(f"x{i}", (1e-7, 1e-3), log=True) for i in range(4)))


@pytest.fixture
def few_draws(monkeypatch):
    """An exhausted space is found out by 300 draws instead of 10,000."""
    monkeypatch.setattr(spaces, "sample_where", partial(spaces.sample_where, attempts=300))


def run(problem, optimizer, trials, path, **options):
    return search(problem, optimizer, Budget(trials=trials), path, seed=0, **options)


class TestProposals:
    @ALL
    def test_are_legal_configurations_of_a_mixed_space(self, sampler, tmp_path):
        toy = Toy(space=mixed_space())
        toy.evaluate = lambda job: Outcome({"accuracy": 1 / job.configuration["units"]}, 1)
        history = run(toy, made(toy, sampler), 14, tmp_path / "log.jsonl")
        assert len(history) == 14 and all(t.fidelity == 9 and t.status == "ok" for t in history)
        for t in history:
            complete = spaces.complete(toy.space, t.configuration)  # which rounds floats to 13 digits
            assert complete == {k: complete[k] if k in ("rate", "extra") else v for k, v in t.configuration.items()}
            assert json.loads(json.dumps(t.configuration)) == t.configuration
            assert (t.configuration["fixed"], t.configuration["only"]) == ("yes", "one")
            assert ("width" in t.configuration) == (t.configuration["depth"] > 1)
        assert len({json.dumps(t.configuration["kind"]) for t in history}) > 1

    @pytest.mark.parametrize("choices", [["auto", 1.0, 2], ["1", 1], [True, "auto"], [False, 1, 1.5], [1, 1.5, "1"]])
    def test_give_choices_of_several_types_back_as_they_are(self, choices, tmp_path):
        toy = Toy(space=ConfigurationSpace({"a": Categorical("a", choices), "x": (0.0, 1.0)}))
        toy.evaluate = lambda job: Outcome({"accuracy": job.configuration["x"]}, 1)
        path = tmp_path / "log.jsonl"
        history = run(toy, made(toy), 15, path)
        told = {json.dumps(choice) for choice in choices}
        assert {json.dumps(t.configuration["a"]) for t in history} == told
        assert len(run(toy, made(toy), 20, path)) == 20  # what was read from the log is told

    def test_are_better_than_random_ones(self, tmp_path):
        best = {
            sampler: np.median(
                [
                    min(
                        t.metrics["loss"]
                        for t in run(b, made(b, sampler, seed), 25, tmp_path / f"{sampler}{seed}.jsonl")
                    )
                    for seed in range(3)
                    for b in [Bowl()]
                ]
            )
            for sampler in ("TPESampler", "GPSampler", "CmaEsSampler", "RandomSampler")
        }
        random = best.pop("RandomSampler")
        assert all(value < 0.7 * random for value in best.values()), (best, random)

    @pytest.mark.parametrize("sampler", ["TPESampler", "CmaEsSampler"])
    def test_maximising_decides_as_minimising_the_negative(self, sampler, tmp_path):
        found = []
        for maximise in (False, True):
            bowl = Bowl(maximise=maximise)
            found.append(run(bowl, made(bowl, sampler), 20, tmp_path / f"{maximise}.jsonl"))
        assert [t.configuration for t in found[0]] == [t.configuration for t in found[1]]

    @pytest.mark.parametrize("sampler", ["TPESampler", "GPSampler", "CmaEsSampler"])
    def test_mind_constraints(self, sampler, tmp_path):
        bowl = Bowl(floor=3.0)
        trials = 28 if sampler == "GPSampler" else 40  # a Gaussian process takes its time, and learns faster
        history = run(bowl, made(bowl, sampler, n_startup_trials=8), trials, tmp_path / "log.jsonl")
        parts = history.trials[:8], history.trials[trials // 2 :]
        shares = [np.mean([bowl.violation(t) == 0 for t in part]) for part in parts]
        assert shares[1] > shares[0] and (shares[1] >= 0.5 or sampler == "CmaEsSampler")

    def test_avoid_what_fails(self, tmp_path):
        bowl = Bowl()
        evaluate = bowl.evaluate

        def fails_below_zero(job):
            if job.configuration["x0"] < 0:
                raise RuntimeError("no")
            return evaluate(job)

        bowl.evaluate = fails_below_zero
        history = run(bowl, made(bowl, n_startup_trials=10), 40, tmp_path / "log.jsonl")
        failed = [t.status == "failed" for t in history]
        assert sum(failed[:10]) >= 3 and sum(failed[25:]) <= 5

    def test_say_where_they_come_from(self, tmp_path):
        toy = Toy([PRECISION])
        origins = {
            sampler: [t.origin for t in run(toy, made(toy, sampler), 8, tmp_path / f"{sampler}.jsonl")]
            for sampler in SAMPLERS
        }
        assert origins["TPESampler"] == origins["GPSampler"] == ["initial"] * 4 + ["model"] * 4
        assert origins["NSGAIISampler"] == ["initial"] * 5 + ["variation"] * 3
        assert origins["RandomSampler"] == origins["QMCSampler"] == ["random"] * 8
        assert origins["CmaEsSampler"] == ["initial"] + ["model"] * 7

    @ALL
    def test_never_come_twice_and_end_with_the_space(self, sampler, tmp_path, few_draws):
        toy = Toy(space=ConfigurationSpace({"kernel": [3, 5, 7], "norm": [True, False], "fixed": Constant("fixed", 1)}))
        history = run(toy, made(toy, sampler), 20, tmp_path / "log.jsonl")
        assert len({key(t.configuration) for t in history}) == len(history) == 6
        assert triallog.read(tmp_path / "log.jsonl").end["reason"] == "optimizer"

    def test_a_space_of_constants_has_one(self, tmp_path, few_draws):
        toy = Toy(space=ConfigurationSpace({"kernel": Constant("kernel", 3), "norm": Constant("norm", "yes")}))
        assert len(run(toy, made(toy), 20, tmp_path / "log.jsonl")) == 1


class TestWorkers:
    def test_pending_trials_repel(self):
        """Four proposals asked for at once lie farther apart than Optuna's of one history without the liar."""

        def spread(optimizer):
            history = History()
            for i in range(12):
                suggestion = optimizer.ask(history)
                id = history.ask(suggestion)
                loss = sum((v - 1) ** 2 for v in suggestion.configuration.values())
                history.finish(Trial(**vars(suggestion), id=id, metrics={"loss": loss}, asked=i + 1))
            points = []
            for _ in range(6):
                suggestion = optimizer.ask(history)
                history.ask(suggestion)
                points.append(list(suggestion.configuration.values()))
            return np.std(points, axis=0).mean()

        with_liar = np.mean([spread(made(Bowl(), seed=s)) for s in range(8)])
        without = np.mean([spread(made(Bowl(), seed=s, constant_liar=False)) for s in range(8)])
        assert with_liar > without


class TestResuming:
    @ALL
    @pytest.mark.parametrize("pending", [0, 3])
    def test_a_history_that_is_told_is_gone_on_with(self, sampler, pending, tmp_path):
        """As after a kill, with suggestions in flight: a new optimizer proposes what the old one does."""
        toy, history = Toy([SIZE, PRECISION]), History()
        old = made(toy, sampler)
        for i in range(9):
            suggestion = old.ask(history)
            history.ask(suggestion)
            if i < 9 - pending:
                metrics = {"accuracy": 1 / suggestion.configuration["kernel"], "precision": 0.6, "size": 1}
                history.finish(Trial(**vars(suggestion), id=i, metrics=metrics, asked=i + 1))
        new = made(toy, sampler)
        for _ in range(2):
            assert new.ask(history) == old.ask(history)
            history.ask(old.ask(history))

    def test_decisions_made_elsewhere_are_taken_as_they_are(self, tmp_path):
        toy, path = Toy([SIZE, PRECISION]), tmp_path / "log.jsonl"
        run(toy, made(toy), 8, path)
        other = made(toy, seed=0)
        other.seed = 77  # as if this machine decided otherwise
        logged = path.read_bytes()
        history = search(toy, _WithSeed(other), Budget(trials=12), path, seed=0)
        assert path.read_bytes().startswith(logged[: logged.rfind(b'{"kind": "end"')]) and len(history.trained) == 12
        assert len({key(t.configuration) for t in history}) == len(history)

    def test_telling_costs_no_proposal(self, monkeypatch):
        toy, history = Toy(), History()
        for i in range(30):
            suggestion = Suggestion({"kernel": 3, "layers": 1, "norm": True, "rate": 1e-5 * (i + 1)}, 9)
            history.ask(suggestion)
            history.finish(Trial(**vars(suggestion), id=i, metrics={"accuracy": 0.5}, asked=i + 1))
        asked = []
        monkeypatch.setattr(OptunaSampler, "propose", lambda self: asked.append(1))
        made(toy).ask(history)
        assert len(asked) == 1

    @pytest.mark.parametrize("sampler", ["TPESampler", "CmaEsSampler"])
    def test_a_warm_start_is_learnt_from_at_the_highest_fidelity_only(self, sampler, tmp_path):
        toy = Toy()
        first = search(toy, Hyperband(toy, 0), Budget(trials=30), tmp_path / "first.jsonl", seed=0)
        path = tmp_path / "log.jsonl"
        history = run(toy, made(toy, sampler), 6, path, warm_start=list(first))
        own = history.trials[len(first) :]
        assert len(own) == 6 and own[0].origin == "model"
        full = {key(t.configuration) for t in first if t.fidelity == 9}
        assert not full & {key(t.configuration) for t in own}
        more = run(toy, made(toy, sampler), 9, path, warm_start=list(first))
        assert decisions(more)[: len(history)] == decisions(history) and len(more) == len(history) + 3

    def test_an_optimizer_is_sent_to_a_worker(self):
        toy = Toy()
        assert pickle.loads(pickle.dumps(made(toy))).describe() == made(toy).describe()


class _WithSeed:
    """An optimizer that describes itself as the one with seed 0."""

    def __init__(self, inner):
        self.inner = inner

    def ask(self, history):
        return self.inner.ask(history)

    def describe(self):
        return self.inner.describe() | {"seed": 0}


class TestDoor:
    @pytest.mark.parametrize(
        ("sampler", "options", "said"),
        [
            ("Tpe", {}, "no sampler 'Tpe'; choose one of .*TPESampler"),
            ("GridSampler", {}, "no sampler 'GridSampler'"),
            ("no.such.module:Class", {}, "No module named 'no"),
            ("TPESampler", {"startup": 3}, "TPESampler with options .*'startup'"),
            ("TPESampler", {"group": True, "multivariate": False}, "``group`` option"),
            ("TPESampler", {"seed": 3}, "'seed' is set by the search"),
            ("TPESampler", {"constraints_func": None}, "'constraints_func' is set by the search"),
            ("TPESampler", {"gamma": max}, "not JSON serializable; give numbers"),
        ],
    )
    def test_refuses_what_no_sampler_is_made_of(self, sampler, options, said):
        with pytest.raises(UserError, match=said):
            OptunaSampler(Toy(), 0, sampler, options)

    def test_refuses_spaces_that_it_would_misread(self):
        forbidden = ConfigurationSpace({"kernel": [3, 5]})
        forbidden.add(ForbiddenEqualsClause(forbidden["kernel"], 5))
        bell = ConfigurationSpace({"x": NormalFloatHyperparameter("x", 0.0, 1.0, -3.0, 3.0)})
        for space, said in ((forbidden, "supports no forbidden clauses"), (bell, "Optuna: cannot divide x")):
            with pytest.raises(UserError, match=said):
                OptunaSampler(Toy(space=space), 0)

    def test_another_packages_sampler_is_found_by_its_name(self, tmp_path):
        toy = Toy()
        optimizer = OptunaSampler(toy, 0, "optuna.samplers:RandomSampler")
        assert len(run(toy, optimizer, 3, tmp_path / "log.jsonl")) == 3

    def test_says_what_is_missing(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "optuna", None)
        with pytest.raises(UserError, match=r'pip install "jahslib\[optuna\]"'):
            made(Toy())

    def test_is_quiet_and_leaves_optunas_messages_as_they_were(self, tmp_path, caplog, capfd):
        import optuna

        before = optuna.logging.get_verbosity()
        toy = Toy()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run(toy, made(toy, group=True), 8, tmp_path / "log.jsonl")
            run(toy, made(toy, "GPSampler"), 6, tmp_path / "gp.jsonl")
        assert optuna.logging.get_verbosity() == before
        assert not [r for r in caplog.records if r.name.startswith("optuna") and r.levelno >= logging.INFO]
        assert "optuna" not in capfd.readouterr().err.lower()

    def test_describes_itself_by_its_settings(self):
        described = OptunaSampler(Toy(), 3, "TPESampler", {"multivariate": True}).describe()
        assert described == {
            "name": "OptunaSampler",
            "seed": 3,
            "sampler": "TPESampler",
            "options": {"multivariate": True},
        }


@pytest.mark.parametrize("problem", [Toy([SIZE, PRECISION]), RoundedBowl()], ids=["conditional", "floats"])
def test_the_same_log_whatever_the_number_of_kills(problem, tmp_path):
    paths = [tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"]
    whole = run(problem, made(problem), 20, paths[0])
    for trials in (3, 5, 9, 20):
        killed = run(problem, made(problem), trials, paths[1])
    assert decisions(killed) == decisions(whole)
