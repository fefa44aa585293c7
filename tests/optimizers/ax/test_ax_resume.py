"""A search by Ax is resumed from its log alone, on a space with every kind of hyperparameter."""

import pickle
import random
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Constant, Float, InCondition, Integer, OrdinalHyperparameter

from jahslib.core.problem import Constraint, Fidelity, Job, Objective, Outcome, Problem
from jahslib.core.trials import History, Trial
from jahslib.optimizers.ax.optimizer import AxBO
from jahslib.optimizers.random_search import RandomSearch
from jahslib.paths import ROOT
from jahslib.search import Budget, logfiles, search, triallog
from jahslib.spaces import configurations as spaces
from tests.conftest import PRECISION, SIZE, Toy
from tests.optimizers.ax.test_ax_optimizer import told


def mixed_space():
    """Log integers, a constant, an ordinal, a one-element choice, conditions and mixed-type choices."""
    space = ConfigurationSpace()
    layers, width = Integer("layers", (1, 3)), Integer("width", (4, 512), log=True)
    rate, parts = Float("rate", (1e-5, 0.1), log=True), Integer("parts", (1, 10**7), log=True)
    space.add(layers, width, rate, parts, Constant("version", 2), Categorical("only", ["one"]))
    space.add(OrdinalHyperparameter("kernel", [3, 5, 7]), Categorical("norm", ["auto", None, 1.0, 2]))
    space.add(InCondition(width, layers, [2, 3]))
    return space


class Mixed(Toy):
    """A `Toy` on such a space; of `norm`, "auto" and None fail where failures are asked for."""

    def __init__(self, space=None, fail=""):
        super().__init__([SIZE, PRECISION], space or mixed_space(), fail)

    def evaluate(self, job):
        configuration = {**job.configuration, "norm": job.configuration.get("norm") in (1.0, 2)}
        return super().evaluate(replace(job, configuration=configuration))


def in_flight(optimizer, problem, n, workers, seed=0):
    """A history of `n` trials, of which up to `workers` run at a time and finish in a random order."""
    history, rng = History(), np.random.default_rng(seed)
    while len(history) < n:
        while len(history.pending) < workers and (suggestion := optimizer.ask(history)):
            history.ask(suggestion)
        if not history.pending:
            break
        id = int(rng.choice(sorted(history.pending)))
        suggestion, metrics, status = history.suggestions[id], {}, "ok"
        try:
            metrics = problem.evaluate(Job(suggestion.configuration, (suggestion.fidelity,), id)).metrics
        except RuntimeError:
            status = "failed"
        asked = len(history.suggestions)
        history.finish(Trial(**vars(suggestion), id=id, status=status, metrics=metrics, asked=asked))
    return history


def up_to(history, events):
    """The history as it was after so many events."""
    before = History()
    for event in history.events[:events]:
        if isinstance(event, Trial):
            before.finish(event)
        else:
            before.ask(event.suggestion)
    return before


class TestAFunctionOfWhatItWasTold:
    @pytest.mark.parametrize(("workers", "fail"), [(1, ""), (4, "raise")])
    def test_resumed_anywhere_it_decides_as_if_never_interrupted(self, workers, fail):
        problem = Mixed(fail=fail)
        history = in_flight(AxBO(problem, 7, n_init=3), problem, 7, workers)
        assert {s.origin for s in history.suggestions} == {"initial", "model"}
        assert len({spaces.key(s.configuration) for s in history.suggestions}) == len(history.suggestions)
        assert (fail == "raise") == any(t.status == "failed" for t in history)
        asked = [i for i, event in enumerate(history.events) if not isinstance(event, Trial)]
        for events in asked[2::2]:
            resumed = AxBO(pickle.loads(pickle.dumps(problem)), 7, n_init=3)
            assert resumed.ask(up_to(history, events)) == history.events[events].suggestion

    def test_it_resumes_without_a_proposal_of_its_own(self, monkeypatch):
        problem = Mixed()
        history = in_flight(AxBO(problem, 0, n_init=3), problem, 5, 2)
        proposed = []
        monkeypatch.setattr(AxBO, "_new", lambda self: proposed.append(1))
        AxBO(problem, 0, n_init=3).ask(history)
        assert len(proposed) == 1

    def test_it_goes_on_from_decisions_that_are_not_its_own(self):
        problem = Mixed()
        other = in_flight(RandomSearch(problem, 5), problem, 6, 2)
        optimizer = AxBO(problem, 0, n_init=4)
        first = optimizer.ask(other)
        assert first.origin == "model" and not other.has(first.configuration)
        other.ask(first)
        assert optimizer.ask(other).configuration != first.configuration

    def test_results_of_a_lower_fidelity_are_no_results_to_it(self):
        """A warm start may copy them from a method that has rungs."""
        problem, history = Mixed(), History()
        for i, trial in enumerate(in_flight(RandomSearch(problem, 5), problem, 4, 1)):
            id = history.ask(replace(trial.suggestion(), fidelity=3, final=False))
            low = {"accuracy": 1.0, "precision": 1.0}  # better than any at full fidelity
            history.finish(replace(trial, id=id, fidelity=3, final=False, metrics=low))
            if i < 2:
                whole = history.ask(replace(trial.suggestion(), parent=id))
                history.finish(replace(trial, id=whole, parent=id))
        optimizer = AxBO(problem, 0, n_init=1)
        suggestion = optimizer.ask(history)
        assert suggestion.origin == "model" and suggestion.parent is None
        assert not history.has(suggestion.configuration)
        told = optimizer._client.summarize().accuracy
        assert told.notna().sum() == 2 and told.max() < 1

    def test_the_largest_seed_will_do(self):
        problem = Mixed()
        assert len(told(AxBO(problem, 2**32 - 1, n_init=2), problem, 3)) == 3

    def test_it_leaves_no_trace_in_the_global_generators(self):
        random.seed(3)
        np.random.seed(3)  # noqa: NPY002
        before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
        problem = Mixed()
        told(AxBO(problem, 0, n_init=2), problem, 3)
        assert before == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002


class TestExhausted:
    def exhaust(self, space, **options):
        problem = Mixed(space)
        problem.evaluate = lambda job: Outcome({"accuracy": 0.5, "precision": 1.0}, 1)
        return in_flight(AxBO(problem, 0, n_init=2, **options), problem, 50, 2)

    @pytest.mark.parametrize("options", [{}, {"method": "random_search"}])
    def test_every_configuration_is_proposed_once(self, options):
        space = ConfigurationSpace()
        layers, norm = Integer("layers", (1, 2)), Categorical("norm", ["auto", None])
        space.add(layers, norm, Constant("version", 2), OrdinalHyperparameter("kernel", [3, 5]))
        space.add(InCondition(norm, layers, [2]))
        history = self.exhaust(space, **options)
        keys = [spaces.key(s.configuration) for s in history.suggestions]
        assert len(keys) == len(set(keys)) == 2 * (1 + 2)

    def test_a_space_of_constants_is_one_trial(self):
        space = ConfigurationSpace()
        space.add(Constant("version", 2), Categorical("only", ["one"]))
        assert [t.configuration for t in self.exhaust(space)] == [{"only": "one", "version": 2}]

    def test_where_the_model_fails_a_random_configuration_takes_its_place(self, monkeypatch):
        from botorch.exceptions.errors import ModelFittingError

        def failing(*args, **kwargs):
            raise ModelFittingError("no fit")

        monkeypatch.setattr("jahslib.optimizers.ax.model.fit_gpytorch_mll", failing)
        problem = Mixed()
        history = told(AxBO(problem, 0, n_init=2), problem, 4)
        assert [t.origin for t in history] == ["initial", "initial", "random", "random"]


LOGS = [
    "06_ax_bo/logs/ax-mnist-seed0",
    "06_ax_bo/logs/ax_stop-mnist-seed2",
    "07_constrained_EA/logs/ax-seed123",
    "08_head_to_head/logs/growing_convnet-ax-seed1",
]


class Logged(Problem):
    """The problem of a log's header; trials are what trials of the log were."""

    def __init__(self, logged):
        self._described = logged.fingerprint["problem"]
        self.name = self._described["name"]
        self.space = ConfigurationSpace.from_serialized_dict(deepcopy(self._described["space"]))
        self.fidelity = Fidelity(*self._described["fidelity"])
        self.objective = Objective(*self._described["objective"])
        self.constraints = tuple(map(Constraint.parse, self._described["constraints"]))
        self.metrics = [t.metrics for t in logged.trials if t.status == "ok"]

    def describe(self):
        return self._described

    def evaluate(self, job):
        return Outcome(dict(self.metrics[job.seed % len(self.metrics)]), 1)


@pytest.mark.parametrize(
    ("name", "workers"),
    [(LOGS[0], 1), (LOGS[1], 2), *(pytest.param(log, 2, marks=pytest.mark.slow) for log in LOGS[2:])],
)
def test_a_committed_log_goes_on(name, workers, tmp_path):
    file = tmp_path / "log.jsonl"
    file.write_bytes(logfiles.content(ROOT / f"results/cpu/{name}.jsonl"))
    logged = triallog.read(file)
    problem, settings = Logged(logged), dict(logged.fingerprint["optimizer"])
    optimizer = AxBO(problem, **{name: value for name, value in settings.items() if name != "name"})
    assert optimizer.describe() == settings
    trained = sum(t.status != "rejected" for t in logged.trials)
    seed = logged.fingerprint["seed"]
    history = search(problem, optimizer, Budget(trials=trained + 2), file, seed=seed, workers=workers)
    new = history.trials[len(logged.trials) :]
    assert sum(t.status != "rejected" for t in new) == 2
    before = {spaces.key(t.configuration) for t in logged.trials}
    assert not before & {spaces.key(t.configuration) for t in new if t.parent is None}
