"""Ax's options beyond what `test_optimizers.py` asks of every optimizer."""

import math
import pickle
import random
import shutil
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Constant, Float, InCondition, Integer, OrdinalHyperparameter

from jahslib import spaces, triallog
from jahslib.errors import UserError
from jahslib.optimizers.ax_bo import FAST, AxBO
from jahslib.optimizers.ax_parameters import outcomes
from jahslib.optimizers.random_search import RandomSearch
from jahslib.paths import ROOT
from jahslib.problem import Constraint, Fidelity, Job, Objective, Outcome, Problem
from jahslib.problems.tuned_network import space
from jahslib.search import Budget, search
from jahslib.trials import History, Trial
from tests.conftest import PRECISION, SIZE, Toy, decisions


class Curves(Toy):
    """Accuracy over study 06's three hyperparameters, growing with epochs; early looks tell good from bad."""

    def __init__(self, high=6):
        super().__init__(space=space(), high=high)

    def known(self, configuration):
        return {}

    def evaluate(self, job):
        x = math.log10(job.configuration["lr"]) + 1
        return Outcome({"accuracy": (1 - 0.2 * x * x) * (1 - 0.5 / job.fidelity)}, self.epochs(job.stages))


def told(optimizer, problem, n):
    """A history of `n` trials in turn."""
    history = History()
    for id in range(n):
        suggestion = optimizer.ask(history)
        history.ask(suggestion)
        metrics = problem.evaluate(Job(suggestion.configuration, (suggestion.fidelity,), 0)).metrics
        history.finish(Trial(**vars(suggestion), id=id, metrics=metrics, asked=id + 1))
    return history


class TestOptions:
    def test_a_description_without_them_is_that_of_the_logs_made_before_them(self):
        problem = Curves()
        plain = {"name": "AxBO", "seed": 1, "method": "fast", "n_init": 5}
        assert AxBO(problem, 1).describe() == plain
        with_them = AxBO(problem, 1, acquisition=FAST, early_stopping={"every": 2}).describe()
        assert with_them == plain | {"acquisition": FAST, "early_stopping": {"every": 2}}

    def test_the_centre_is_optional(self):
        problem = Curves()
        first = told(AxBO(problem, 0, n_init=2), problem, 1).trials[0].configuration
        assert first["lr"] == pytest.approx(1e-2) and first["momentum"] == pytest.approx(0.4995)
        without = AxBO(problem, 0, n_init=2, initialisation={"initialize_with_center": False})
        assert told(without, problem, 1).trials[0].configuration != first

    def test_the_acquisition_options_reach_botorch_and_the_choice_stays_reproducible(self, monkeypatch):
        from botorch.optim import optimize

        asked, original = [], optimize._optimize_acqf_batch

        def spy(opt_inputs, **kwargs):
            asked.append((opt_inputs.num_restarts, opt_inputs.raw_samples, opt_inputs.options["init_batch_limit"]))
            return original(opt_inputs=opt_inputs, **kwargs)

        monkeypatch.setattr(optimize, "_optimize_acqf_batch", spy)
        problem = Curves()
        ways = [{"acquisition": FAST}, {}, {"unbounded": True}, {"acquisition": {"num_restarts": 2}}]
        histories = [told(AxBO(problem, 0, n_init=3, **way), problem, 4) for way in ways]
        assert asked == [(4, 512, 512), (4, 512, 512), (20, 1024, 32), (2, 512, 512)]
        assert [t.configuration for t in histories[0]] == [t.configuration for t in histories[1]]

    def test_a_fit_is_bounded_unless_all_is_left_to_ax(self, monkeypatch):
        from botorch.optim import fit

        given, original = [], fit.scipy_minimize

        def spy(*args, options=None, **kwargs):
            given.append(options)
            return original(*args, options=options, **kwargs)

        monkeypatch.setattr(fit, "scipy_minimize", spy)
        problem = Curves()
        for unbounded in (False, True):
            told(AxBO(problem, 0, n_init=2, unbounded=unbounded), problem, 3)
        assert given == [{"maxiter": 40}, None]

    def test_over_choices_alone_its_model_proposes_without_repeating_itself(self):
        """On Ax's continuous relaxation it would try in vain and fall back to Sobol."""
        space = ConfigurationSpace({name: list("uvw") for name in "abc"}, seed=0)
        problem = Toy(space=space)
        problem.evaluate = lambda job: Outcome({"accuracy": list(job.configuration.values()).count("w") / 3}, 1)
        optimizer = AxBO(problem, 0, n_init=4, acquisition=FAST)
        history = told(optimizer, problem, 12)
        assert len({spaces.key(t.configuration) for t in history}) == 12
        assert [t.origin for t in history] == ["initial"] * 4 + ["model"] * 8
        assert problem.incumbent(history).metrics["accuracy"] == 1

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            (
                {"initialisation": {"budget": 3}},
                "initialisation: 'budget' is unknown; choose from initialize_with_center",
            ),
            ({"early_stopping": {"every": 0}}, "early_stopping: every=0; give a whole number of epochs"),
            ({"acquisition": {"restarts": 4}}, "acquisition: 'restarts' is unknown; choose from num_restarts"),
            ({"method": "quality"}, "method: 'quality' is unknown"),
            ({"n_init": 0}, "n_init: 0 trials before the model"),
        ],
    )
    def test_refuses_bad_ones(self, bad, said):
        with pytest.raises(UserError, match=said):
            AxBO(Curves(), 0, **bad)

    @pytest.mark.parametrize("metric", ["sum", "N", "beta", "top-1"])
    def test_metrics_may_have_names_that_mean_something_in_a_formula(self, metric):
        problem = Toy((Constraint(metric, ">=", 0.5),))
        problem.evaluate = lambda job: Outcome({"accuracy": 0.5, metric: job.configuration["kernel"] / 7}, 1)
        history = told(AxBO(problem, 0, n_init=2, acquisition=FAST), problem, 4)
        assert {t.status for t in history} == {"ok"}

    @pytest.mark.parametrize("relation", ["<=", ">="])
    @pytest.mark.parametrize("bound", [-1.0, 0.0, 0.4])
    def test_what_a_failed_trial_did_not_measure_is_told_as_infeasible(self, relation, bound):
        constraint = Constraint("precision", relation, bound)
        values = outcomes(Toy((constraint,)), Trial({}, 9, status="failed"))
        assert values["accuracy"] == 0.0 and constraint.violation(values) >= 1

    def test_refuses_an_option_that_axs_rule_lacks(self):
        with pytest.raises(UserError, match=r"early_stopping: .*unexpected keyword argument 'percent'"):
            AxBO(Curves(), 0, early_stopping={"every": 1, "percent": 3}).ask(History())


STOPPING = {"every": 2, "min_curves": 2}


class TestEarlyStopping:
    def run(self, path, stopping=STOPPING, high=6, trials=14, seed=0):
        problem = Curves(high)
        optimizer = AxBO(problem, seed, n_init=12, early_stopping=stopping)  # Sobol points: no model to wait for
        return search(problem, optimizer, Budget(trials=trials), path, seed=seed)

    def test_it_truly_stops(self, tmp_path):
        history = self.run(tmp_path / "log.jsonl")
        continued = {t.parent for t in history}
        stopped = [t for t in history if not t.final and t.id not in continued and t.id < len(history) - 1]
        finished = [t for t in history if t.final]
        assert stopped and finished and {t.fidelity for t in finished} == {6}
        for t in stopped:  # it was in the lower half of those that were ever measured after so many epochs
            there = [u.metrics["accuracy"] for u in history if u.fidelity == t.fidelity and u.id <= t.id]
            assert t.metrics["accuracy"] <= np.median(there)
        assert sum(t.epochs for t in history) < 6 * len({t.configuration["lr"] for t in history})

    def test_a_chain_continues_its_own_trial_and_is_charged_once(self, tmp_path):
        history = self.run(tmp_path / "log.jsonl")
        for trial in history:
            if trial.parent is not None:
                parent = history.suggestions[trial.parent]
                assert parent.configuration == trial.configuration and trial.fidelity == parent.fidelity + 2
                assert trial.epochs == 2

    def test_axs_own_default_never_stops_within_ten_epochs(self, tmp_path):
        """Its rule waits for epoch 10, which is the last."""
        history = self.run(
            tmp_path / "log.jsonl", {"every": 5, "min_progression": 10, "min_curves": 2}, high=10, trials=12
        )
        assert [t.fidelity for t in history] == [5, 10] * 6
        assert len([t for t in self.run(tmp_path / "b.jsonl", {"every": 5, "min_curves": 2}, 10, 12) if t.final]) < 6

    def test_resume_after_a_kill_gives_the_uninterrupted_run(self, tmp_path):
        path = tmp_path / "log.jsonl"
        whole = self.run(path)
        lines = path.read_bytes().splitlines(keepends=True)
        for kept in (2, 7, 11):
            path.write_bytes(b"".join(lines[:kept]) + lines[kept][:17])
            assert decisions(self.run(path)) == decisions(whole)

    def test_a_failed_stage_ends_its_trial(self, tmp_path):
        class Failing(Curves):
            def evaluate(self, job):
                if job.fidelity == 4:
                    raise RuntimeError("lost")
                return super().evaluate(job)

        problem = Failing()
        optimizer = AxBO(problem, 0, n_init=12, early_stopping=STOPPING)
        history = search(problem, optimizer, Budget(trials=6), tmp_path / "log.jsonl", seed=0)
        assert [(t.fidelity, t.status) for t in history] == [(2, "ok"), (4, "failed")] * 3


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
    """A `Toy` on such a space; of `norm`, "auto" fails where failures are asked for."""

    def __init__(self, space=None, fail=""):
        super().__init__([SIZE, PRECISION], space or mixed_space(), fail)

    def evaluate(self, job):
        configuration = {**job.configuration, "norm": job.configuration.get("norm") != "auto"}
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
    @pytest.mark.parametrize(("workers", "fail"), [(1, ""), (2, "raise"), (4, "")])
    def test_resumed_anywhere_it_decides_as_if_never_interrupted(self, workers, fail):
        problem = Mixed(fail=fail)
        history = in_flight(AxBO(problem, 7, n_init=3), problem, 7, workers)
        assert {s.origin for s in history.suggestions} == {"initial", "model"}
        assert (fail == "raise") == any(t.status == "failed" for t in history)
        asked = [i for i, event in enumerate(history.events) if not isinstance(event, Trial)]
        for events in asked[1::2]:
            resumed = AxBO(pickle.loads(pickle.dumps(problem)), 7, n_init=3)
            assert resumed.ask(up_to(history, events)) == history.events[events].suggestion

    def test_it_resumes_without_a_proposal_of_its_own(self, monkeypatch):
        problem = Mixed()
        history = in_flight(AxBO(problem, 0, n_init=3), problem, 5, 2)
        proposed = []
        monkeypatch.setattr(AxBO, "_new", lambda self: proposed.append(1))
        AxBO(problem, 0, n_init=3).ask(history)
        assert len(proposed) == 1

    def test_a_trial_in_flight_is_not_proposed_again(self):
        problem = Mixed()
        history = in_flight(AxBO(problem, 0, n_init=3), problem, 6, 4)
        keys = [spaces.key(s.configuration) for s in history.suggestions]
        assert len(set(keys)) == len(keys)

    def test_it_goes_on_from_decisions_that_are_not_its_own(self):
        problem = Mixed()
        other = in_flight(RandomSearch(problem, 5), problem, 6, 2)
        optimizer = AxBO(problem, 0, n_init=4)
        first = optimizer.ask(other)
        assert first.origin == "model" and not other.has(first.configuration)
        other.ask(first)
        assert optimizer.ask(other).configuration != first.configuration

    @pytest.mark.parametrize("seed", [0, 2**31, 2**32 - 1])
    def test_any_seed_will_do(self, seed):
        problem = Mixed()
        assert len(told(AxBO(problem, seed, n_init=2), problem, 3)) == 3

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

        monkeypatch.setattr("jahslib.optimizers.ax_model.fit_gpytorch_mll", failing)
        problem = Mixed()
        history = told(AxBO(problem, 0, n_init=2), problem, 4)
        assert [t.origin for t in history] == ["initial", "initial", "random", "random"]


LOGS = [
    "06_ax_bo/logs/ax-fashion_mnist-seed0",
    "06_ax_bo/logs/ax_stop-fashion_mnist-seed2",
    "07_constrained_EA/logs/ax-seed123",
    "08_head_to_head/logs/cifar10-ax-seed3",
    "08_head_to_head/logs/growing_convnet-ax-seed1",
]


class Logged(Problem):
    """The problem of a log's header; trials are what trials of the log were."""

    def __init__(self, logged):
        self._described = logged.fingerprint["problem"]
        self.name = self._described["name"]
        self.space = ConfigurationSpace.from_serialized_dict(deepcopy(self._described["space"]))
        self.fidelity = Fidelity(*self._described["fidelity"])
        self.objective = Objective.parse(self._described["objective"])
        self.constraints = tuple(map(Constraint.parse, self._described["constraints"]))
        self.metrics = [t.metrics for t in logged.trials if t.status == "ok"]

    def describe(self):
        return self._described

    def evaluate(self, job):
        return Outcome(dict(self.metrics[job.seed % len(self.metrics)]), 1)


@pytest.mark.parametrize(("name", "workers"), zip(LOGS, [1, 2, 2, 1, 2], strict=True))
def test_a_committed_log_goes_on(name, workers, tmp_path):
    file = shutil.copy(ROOT / f"results/cpu/{name}.jsonl", tmp_path)
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
