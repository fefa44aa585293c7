"""Ax's options beyond what `test_optimizers.py` asks of every optimizer."""

import math

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace

from jahslib.core.problem import Constraint, Fidelity, Job, Outcome
from jahslib.core.trials import History, Trial
from jahslib.errors import UserError
from jahslib.optimizers.ax.optimizer import FAST, AxBO
from jahslib.optimizers.ax.parameters import outcomes
from jahslib.problems.tuned_network import TunedNetwork
from jahslib.search import Budget, search
from jahslib.spaces import configurations as spaces
from tests.conftest import Toy, decisions


class Curves(Toy):
    """Accuracy over study 06's three hyperparameters, growing with epochs; early looks tell good from bad."""

    def __init__(self, high=6):
        super().__init__(space=TunedNetwork().space, high=high)

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
        assert given == [{"maxiter": 60}, None]

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
                "initialisation: 'budget' is unknown",
            ),
            ({"early_stopping": {"every": 0}}, "early_stopping: every=0; give a whole number of epochs"),
            ({"acquisition": {"restarts": 4}}, "acquisition: 'restarts' is unknown"),
            ({"method": "quality"}, "method: 'quality' is unknown"),
            ({"n_init": 0}, "AxBO: n_init: 0; give a whole number"),
            ({"n_init": "3"}, "AxBO: n_init: '3'; give a whole number"),
        ],
    )
    def test_refuses_bad_ones(self, bad, said):
        with pytest.raises(UserError, match=said):
            AxBO(Curves(), 0, **bad)

    def test_metrics_may_have_names_that_mean_something_in_a_formula(self):
        names = ("sum", "N", "beta", "top-1")
        problem = Toy(Constraint(name, ">=", 0.5) for name in names)
        measured = {"accuracy": 0.5}
        problem.evaluate = lambda job: Outcome(measured | dict.fromkeys(names, job.configuration["kernel"] / 7), 1)
        history = told(AxBO(problem, 0, n_init=2, acquisition=FAST), problem, 4)
        assert {t.status for t in history} == {"ok"}

    @pytest.mark.parametrize("relation", ["<=", ">="])
    @pytest.mark.parametrize("bound", [-1.0, 0.0, 0.4])
    def test_what_a_failed_trial_did_not_measure_is_told_as_infeasible(self, relation, bound):
        constraint = Constraint("precision", relation, bound)
        values = outcomes(Toy((constraint,)), Trial({}, 9, status="failed"))
        assert values["accuracy"] == 0.0 and constraint.violation(values) >= 1

    def test_refuses_an_option_that_axs_rule_lacks(self):
        with pytest.raises(UserError, match=r"early_stopping: .*percent"):
            AxBO(Curves(), 0, early_stopping={"every": 1, "percent": 3}).ask(History())

    def test_trials_are_looked_at_after_every_epoch_unless_said_otherwise(self):
        assert AxBO(Curves(), 0, early_stopping={"min_curves": 2}).ask(History()).fidelity == 1


STOPPING = {"every": 2, "min_curves": 2}


class TestEarlyStopping:
    def run(self, path, stopping=STOPPING, high=6, trials=14, seed=0):
        problem = Curves(high)
        optimizer = AxBO(problem, seed, n_init=12, early_stopping=stopping)  # Sobol points: no model to wait for
        return search(problem, optimizer, Budget(trials=trials), path, seed=seed)

    @pytest.fixture(scope="class")
    def whole(self, tmp_path_factory):
        """A search that stops some of its trials early, and its log."""
        path = tmp_path_factory.mktemp("stopping") / "log.jsonl"
        return self.run(path), path

    def test_it_truly_stops(self, whole):
        history, _ = whole
        continued = {t.parent for t in history}
        stopped = [t for t in history if not t.final and t.id not in continued and t.id < len(history) - 1]
        finished = [t for t in history if t.final]
        assert stopped and finished and {t.fidelity for t in finished} == {6}
        for t in stopped:  # it was in the lower half of those that were ever measured after so many epochs
            there = [u.metrics["accuracy"] for u in history if u.fidelity == t.fidelity and u.id <= t.id]
            assert t.metrics["accuracy"] <= np.median(there)
        assert sum(t.epochs for t in history) < 6 * len({t.configuration["lr"] for t in history})

    def test_a_chain_continues_its_own_trial_and_is_charged_once(self, whole):
        history, _ = whole
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

    def test_resume_after_a_kill_gives_the_uninterrupted_run(self, whole, tmp_path):
        history, log = whole
        path, lines = tmp_path / "log.jsonl", log.read_bytes().splitlines(keepends=True)
        for kept in (7, 11):
            path.write_bytes(b"".join(lines[:kept]) + lines[kept][:17])
            assert decisions(self.run(path)) == decisions(history)

    def test_other_resources_than_epochs_may_come_in_fractions(self, tmp_path):
        problem = Curves()
        problem.fidelity = Fidelity(0.03, 1.0, "trainsize")
        problem.evaluate = lambda job: Outcome({"accuracy": job.configuration["momentum"] * job.fidelity}, job.fidelity)
        optimizer = AxBO(problem, 0, n_init=8, early_stopping={"every": 0.1, "min_curves": 2})
        history = search(problem, optimizer, Budget(trials=30), tmp_path / "log.jsonl", seed=0)
        chains = [[history.suggestions[i].fidelity for i in history.lineage(t.id)] for t in history if t.final]
        assert chains and all(chain == pytest.approx([k / 10 for k in range(1, 11)]) for chain in chains)
        assert all(chain[-1] == 1.0 for chain in chains)
        assert len({spaces.key(t.configuration) for t in history}) > len(chains) + 1, "none was stopped"
        with pytest.raises(UserError, match="every='a'; give a number of trainsize above 0"):
            AxBO(problem, 0, early_stopping={"every": "a"})

    def test_a_log_may_go_on_where_this_rule_would_stop(self, tmp_path):
        history = self.run(tmp_path / "log.jsonl", {"every": 2, "min_curves": 100}, trials=12)  # which never stops
        optimizer = AxBO(Curves(), 0, n_init=12, early_stopping=STOPPING)
        suggestion = optimizer.ask(history)
        assert suggestion.parent is None and not history.has(suggestion.configuration)

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
