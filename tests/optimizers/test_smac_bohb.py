"""BOHB: SMAC's own decisions, the same everywhere, without repeats, to the end of a space, and on from any log."""

import copy
import json
import pickle
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from ConfigSpace import (
    BetaFloatHyperparameter,
    Categorical,
    ConfigurationSpace,
    EqualsCondition,
    Float,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    Integer,
    NormalFloatHyperparameter,
    OrdinalHyperparameter,
)

from jahslib.core.problem import Constraint, Fidelity, Objective, Outcome, Problem
from jahslib.core.trials import History, Suggestion, Trial, key, origins
from jahslib.errors import UserError
from jahslib.optimizers.smac_bohb import SmacBohb, _order_starting_points
from jahslib.paths import ROOT
from jahslib.search import Budget, logfiles, search, triallog
from jahslib.spaces import configurations as spaces
from tests.conftest import PRECISION, SIZE, RichToy, Toy, decisions, rich_space
from tests.optimizers import test_optimizers
from tests.optimizers.test_optimizers import searched  # noqa: F401 (of the conformance class)

toy = pytest.fixture(lambda: RichToy([SIZE, PRECISION]))
budget = pytest.fixture(lambda: Budget(trials=15))


@pytest.fixture
def make():
    return pickled


def pickled(problem, seed):
    return SmacBohb(pickle.loads(pickle.dumps(problem)), seed, n_init=4, min_trials=8)


class TestConformancePickled(test_optimizers.TestConformance):
    """With the problem as it comes out of a pickle, which ConfigSpace's log integers do not survive."""


class Measured(Problem):
    """What a configuration costs is drawn by its content, and falls with the fidelity."""

    name = "measured"
    space: ConfigurationSpace

    def __init__(self, space=None, objective=None, fidelity=None, scale=1.0, shift=0.0):
        self.space = rich_space() if space is None else space
        self.objective = objective or Objective("loss", best=0.0, worst=5.0)
        self.fidelity = fidelity or Fidelity(1, 9)
        self.scale, self.shift = scale, shift

    def loss(self, configuration, fidelity):
        drawn = zlib.crc32(key(configuration).encode()) % 97 / 97
        x = configuration.get("x", drawn)
        return self.shift + self.scale * (abs(x - 0.3) + 0.1 * drawn + 0.1 / fidelity)

    def evaluate(self, job):
        return Outcome({"loss": self.loss(job.configuration, job.fidelity)}, self.epochs(job.stages))


def tried(problem, optimizer, limit, workers=1, history=None):
    """The history of an optimizer asked and told, with up to `workers` pending, the one asked for last told first."""
    history = History() if history is None else history
    while len(history.suggestions) < limit or history.pending:
        suggestion = None
        if len(history.pending) < workers and len(history.suggestions) < limit:
            suggestion = optimizer.ask(history)
        if suggestion is not None:
            assert suggestion.origin
            history.ask(suggestion)
        elif history.pending:
            tell(problem, history, max(history.pending))
        else:
            break
    return history


def tell(problem, history, id):
    suggestion = history.suggestions[id]
    metrics = {"loss": problem.loss(suggestion.configuration, suggestion.fidelity)}
    history.finish(Trial(**vars(suggestion), id=id, metrics=metrics, epochs=1, asked=len(history.suggestions)))


def proposals(history):
    return [(key(s.configuration), s.fidelity) for s in history.suggestions]


def numbers() -> ConfigurationSpace:
    return ConfigurationSpace({"x": Float("x", (0, 1)), "units": Integer("units", (1, 512), log=True), "c": ["a", "b"]})


class TestDecisions:
    def test_smac_used_directly_decides_the_same(self, tmp_path):
        from smac import MultiFidelityFacade, Scenario
        from smac.main.config_selector import ConfigSelector
        from smac.runhistory import TrialValue

        problem = Measured(numbers())
        ours = tried(problem, SmacBohb(pickle.loads(pickle.dumps(problem)), 3), 36)
        scenario = Scenario(
            problem.space,
            output_directory=tmp_path,
            deterministic=True,
            n_trials=1000,
            min_budget=1,
            max_budget=9,
            seed=3,
        )
        maximizer = MultiFidelityFacade.get_acquisition_maximizer(scenario)
        _order_starting_points(maximizer)
        smac = MultiFidelityFacade(
            scenario,
            acquisition_maximizer=maximizer,
            initial_design=MultiFidelityFacade.get_initial_design(scenario, n_configs=3),
            intensifier=MultiFidelityFacade.get_intensifier(scenario, eta=3, incumbent_selection="highest_budget"),
            config_selector=ConfigSelector(scenario, retrain_after=8, min_trials=8),
            logging_level=False,
        )
        theirs = []
        for _ in range(36):
            asked = smac.ask()
            configuration, fidelity = spaces.plain(asked.config), round(asked.budget)
            theirs.append((key(configuration), fidelity))
            smac.tell(asked, TrialValue(cost=problem.loss(configuration, fidelity)), save=False)
        assert proposals(ours) == theirs
        assert {s.origin for s in ours.suggestions} == {"initial", "random", "model"}

    @pytest.mark.parametrize("workers", [1, 3])
    def test_a_pickled_problem_gives_the_same_log(self, workers):
        problem = Measured()
        optimizer = pickle.loads(pickle.dumps(SmacBohb(problem, 1, n_init=4, min_trials=8)))
        assert proposals(tried(problem, SmacBohb(problem, 1, n_init=4, min_trials=8), 24, workers)) == proposals(
            tried(problem, optimizer, 24, workers)
        )

    def test_pickled_in_the_midst_of_a_search_it_goes_on(self):
        problem = Measured(numbers())
        optimizer = SmacBohb(problem, 1)
        history = tried(problem, optimizer, 10)
        assert pickle.loads(pickle.dumps(optimizer)).ask(history) == optimizer.ask(history)

    def test_initial_configurations_of_a_space_with_priors_are_not_trained_again(self):
        space = ConfigurationSpace({"c": Categorical("c", ["a", "b", "c"], weights=[1, 2, 3]), "n": (1, 3)})
        space.add(NormalFloatHyperparameter("x", 0.0, 1.0, -3, 3), BetaFloatHyperparameter("b", 2.0, 3.0, 0, 5))
        drawn = proposals(tried(Measured(space), SmacBohb(Measured(space), 0, n_init=5), 12))
        assert len(set(drawn)) == len(drawn)

    def test_the_problems_space_is_neither_seeded_nor_drawn_from(self):
        problem = Measured(numbers())
        before = problem.space.random.get_state()[1].tolist()
        tried(problem, SmacBohb(problem, 0), 10)
        assert problem.space.random.get_state()[1].tolist() == before

    def test_where_best_lies_changes_nothing(self):
        def decided(best):
            problem = Measured(numbers(), Objective("loss", best, 5.0))
            return proposals(tried(problem, SmacBohb(problem, 3), 14))

        assert decided(0.0) == decided(-0.5) == decided(-1e9)

    @pytest.mark.parametrize("better", [1, -1])
    def test_what_smac_is_told(self, better):
        objective = Objective("accuracy", 1.0, 0.0) if better > 0 else Objective("accuracy", 0.0, 1.0)
        bohb = SmacBohb(Toy([PRECISION]), 0)
        bohb.problem.objective = objective

        def cost(accuracy, precision=0.5, status="ok"):
            metrics = {"accuracy": accuracy, "precision": precision}
            return bohb.cost(Trial({}, 9, id=0, status=status, metrics=metrics))

        assert cost(0.75) == (0.25 if better > 0 else 0.75)
        assert cost(0.75, precision=0.25) == 1.5  # half the bound is missing
        assert cost(0.75, status="failed") == cost(0.75, status="rejected") == 2
        assert cost(7.0 if better < 0 else -7.0) == 1  # no value counts as more than the worst

    def test_values_in_the_millions_with_ties_are_modelled(self):
        problem = Measured(ConfigurationSpace({"x": (0.0, 1.0)}), Objective("loss", 0.0, 1e9), shift=5e6)
        problem.loss = lambda configuration, fidelity: 5e6 + round(configuration["x"])
        history = tried(problem, SmacBohb(problem, 0), 16)
        assert "model" in {s.origin for s in history.suggestions}

    def test_fidelities_may_be_fractions(self):
        problem = Measured(numbers(), fidelity=Fidelity(0.03, 1.0, "trainsize"))
        history = tried(problem, SmacBohb(problem, 0), 40)
        assert sorted({s.fidelity for s in history.suggestions}) == pytest.approx([1 / 27, 1 / 9, 1 / 3, 1])
        assert all(s.final == (s.fidelity == 1.0) for s in history.suggestions)
        again = tried(problem, adopting(problem, 0), 42, history=replayed(problem, history))
        assert len(set(proposals(again))) == 42

    def test_nothing_is_left_in_the_temporary_folder(self, tmp_path, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        tried(Measured(numbers()), SmacBohb(Measured(numbers()), 2**32 - 1), 3)
        assert not list(tmp_path.iterdir())


class TestOrigins:
    def test_a_promotion_keeps_the_origin_of_its_configuration(self):
        problem = Measured(numbers())
        history = tried(problem, SmacBohb(problem, 0, n_init=4, use_default_config=True), 14)
        assert [s.origin for s in history.suggestions[:5]] == ["initial"] * 5
        default = spaces.plain(problem.space.get_default_configuration())
        assert history.suggestions[4].configuration == default
        promoted = [s for s in history.suggestions if s.parent is not None]
        assert promoted and all(s.origin == history.suggestions[s.parent].origin for s in promoted)
        assert [s.origin for s in history.suggestions if s.fidelity == 1][5:] == ["random"] * 3  # of 9, one drawn again

    def test_shares_count_configurations_once(self):
        def trial(x, fidelity, origin):
            return Suggestion({"x": x}, fidelity, origin=origin)

        trials = [trial(1, 1, "initial"), trial(2, 1, "random"), trial(1, 3, "initial"), trial(3, 1, "model")]
        assert origins([*trials, trial(4, 1, "model"), trial(5, 1, "")]) == {
            "initial": 0.25,
            "random": 0.25,
            "model": 0.5,
        }
        assert origins([trial(5, 1, "")]) == {}


def conditional() -> ConfigurationSpace:
    space = ConfigurationSpace({"a": ["x", "y", "z"], "b": (1, 4)})
    space.add(EqualsCondition(space["b"], space["a"], "x"))
    return space


def forbidding() -> ConfigurationSpace:
    space = ConfigurationSpace({"a": ["x", "y", "z"], "b": (1, 3)})
    space.add(ForbiddenAndConjunction(ForbiddenEqualsClause(space["a"], "y"), ForbiddenEqualsClause(space["b"], 3)))
    return space


SMALL = {
    "no hyperparameter": (1, ConfigurationSpace),
    "constants": (1, lambda: ConfigurationSpace({"k": "x", "j": 1, "l": 2.5})),
    "two": (2, lambda: ConfigurationSpace({"c": ["a", "b"]})),
    "four": (4, lambda: ConfigurationSpace({"c": ["a", "b"], "d": ["a", "b"]})),
    "log integers": (7, lambda: ConfigurationSpace([Integer("i", (1, 7), log=True)])),
    "conditional": (6, conditional),
    "forbidding": (8, forbidding),
    "ordinal": (9, lambda: ConfigurationSpace([OrdinalHyperparameter("o", range(9))])),
    "rare choices": (
        12,
        lambda: ConfigurationSpace([Categorical("c", range(3), weights=[90, 9, 1]), Integer("i", (1, 4))]),
    ),
    "twenty": (20, lambda: ConfigurationSpace({"a": ["w", "x", "y", "z"], "b": (1, 5)})),
}


class TestTheEndOfASpace:
    @pytest.mark.parametrize("workers", [1, 2])
    @pytest.mark.parametrize("name", SMALL)
    def test_it_ends_once_all_was_tried(self, name, workers):
        size, space = SMALL[name]
        problem = Measured(space())
        history = tried(problem, SmacBohb(problem, 0), 100, workers)
        asked = proposals(history)
        assert len(asked) < 100 and len(set(asked)) == len(asked)
        assert len({configuration for configuration, _ in asked}) == size
        full = [t for t in history if t.fidelity == 9]
        assert full and all(t.parent is not None or size > 2 for t in full)

    def test_the_search_says_why_it_ended(self, tmp_path):
        problem = Measured(SMALL["two"][1]())
        search(problem, SmacBohb(problem, 0), Budget(trials=50), tmp_path / "log.jsonl", seed=0)
        assert triallog.read(tmp_path / "log.jsonl").end["reason"] == "optimizer"  # type: ignore[index]

    def test_a_continuous_branch_that_is_rarely_drawn_goes_on(self):
        choice = Categorical("a", ["x", "y", "z"], weights=[0.01, 0.9, 0.09])
        space = ConfigurationSpace([choice, Float("b", (0, 1))])
        space.add(EqualsCondition(space["b"], space["a"], "x"))
        problem = Measured(space)
        asked = proposals(tried(problem, SmacBohb(problem, 0), 30))
        assert len(set(asked)) == len(asked) == 30


def adopting(problem, seed, **options):
    """BOHB on a machine that derives none of a log's decisions."""
    optimizer = SmacBohb(problem, seed, **options)
    optimizer.rederives = lambda: False
    return optimizer


def replayed(problem, history, asked=None, finished=None):
    """A new history with the first suggestions of another, of which the first are finished."""
    again = History()
    for suggestion in history.suggestions[:asked]:
        again.ask(suggestion)
    for id in list(again.pending)[:finished]:
        tell(problem, again, id)
    return again


@pytest.fixture(scope="module")
def other():
    """A search of another seed, whose decisions differ from the first on; its first bracket has no repeat."""
    problem = Measured(numbers())
    return problem, tried(problem, SmacBohb(problem, 8, n_init=9), 20)


class TestAdoptedLogs:
    """Of brackets of 9 at 1 epoch, 3 at 3, 1 at 9; 5 at 3, 1 at 9; 3 at 9."""

    def test_the_best_of_an_adopted_bracket_are_promoted(self, other):
        problem, history = other
        adopted = replayed(problem, history, 9)
        best = sorted(adopted, key=problem.cost)[:3]
        optimizer = SmacBohb(problem, 0, n_init=9)
        ids = [adopted.ask(optimizer.ask(adopted)) for _ in range(3)]
        promoted = [adopted.suggestions[id] for id in ids]
        assert {(s.parent, s.fidelity) for s in promoted} == {(t.id, 3) for t in best}
        for id in ids:
            tell(problem, adopted, id)
        last = optimizer.ask(adopted)
        assert last.fidelity == 9 and last.parent == min(adopted.trials[-3:], key=problem.cost).id

    def test_a_bracket_begun_is_filled_up(self, other):
        problem, history = other
        adopted = tried(problem, SmacBohb(problem, 0), 9, history=replayed(problem, history, 5))
        assert {s.fidelity for s in adopted.suggestions} == {1}
        assert len({key(s.configuration) for s in adopted.suggestions}) == 9

    def test_what_is_pending_is_waited_for(self, other):
        problem, history = other
        adopted = replayed(problem, history, 9, finished=8)
        optimizer = SmacBohb(problem, 0)
        adopted.ask(optimizer.ask(adopted))
        tell(problem, adopted, 8)
        for _ in range(7):
            adopted.ask(optimizer.ask(adopted))
        assert [s.fidelity for s in adopted.suggestions[9:]] == [3] * 8
        assert [s.parent is None for s in adopted.suggestions[9:]] == [True] * 5 + [
            False
        ] * 3  # the next bracket's first

    def test_suggestions_lost_in_flight_are_proposed_between_adopted_ones(self, other):
        problem, history = other
        adopted, optimizer = replayed(problem, history, 4), adopting(problem, 0)
        adopted.ask(optimizer.ask(adopted))
        for suggestion in history.suggestions[4:8]:
            adopted.ask(suggestion)
        asked = proposals(tried(problem, optimizer, 13, history=adopted))
        assert len(set(asked)) == len(asked)
        assert [fidelity for _, fidelity in asked[:9]] == [1] * 9 and asked[9][1] == 3

    def test_the_same_log_gives_the_same_next_proposal(self, other):
        problem, history = other
        proposed = [adopting(problem, 0).ask(replayed(problem, history, 12)) for _ in range(2)]
        assert proposed[0] == proposed[1]

    def test_trials_of_another_plan_are_told_and_not_continued(self, other):
        problem, _ = other
        history, rng = History(), np.random.default_rng(0)
        for _ in range(8):
            id = history.ask(Suggestion(spaces.sample(problem.space, rng), 5, origin="random"))
            tell(problem, history, id)
        more = tried(problem, SmacBohb(problem, 0), 14, history=history)
        assert all(s.fidelity == 1 and s.parent is None for s in more.suggestions[8:])


class Logged(Problem):
    """The problem of a committed log, as its header describes it."""

    def __init__(self, described, metrics):
        self.described, self.metrics = described, metrics
        self.name = described["name"]
        self.space = ConfigurationSpace.from_serialized_dict(copy.deepcopy(described["space"]))  # which empties it
        self.fidelity = Fidelity(*described["fidelity"])
        self.objective = Objective(*described["objective"])
        self.constraints = tuple(Constraint.parse(text) for text in described["constraints"])

    def describe(self):
        return self.described

    def evaluate(self, job):
        return Outcome(dict(self.metrics), self.epochs(job.stages))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "log",
    [
        "01_growing_bohb/logs/static-seed0.jsonl",  # one repeated training
        "05_darts_bohb/logs/bohb-retinamnist-seed4.jsonl",
        "06_ax_bo/logs/smac-mnist-seed0.jsonl",  # one fidelity, a fit for each proposal
        "07_constrained_EA/logs/bohb-seed42.jsonl",
    ],
)
def test_committed_logs_can_be_extended(log, workers, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(logfiles.content(ROOT / "results" / "cpu" / log))
    logged = triallog.read(path)
    settings = dict(logged.fingerprint["optimizer"])
    settings.pop("name")
    problem = Logged(
        logged.fingerprint["problem"], next(t.metrics for t in reversed(logged.trials) if t.status == "ok")
    )
    trained = sum(t.status != "rejected" for t in logged.trials)
    seed = json.loads(Path(path).read_text().splitlines()[0])["fingerprint"]["seed"]
    optimizer = adopting(problem, **settings)
    history = search(problem, optimizer, Budget(trials=trained + 2), path, seed=seed, workers=workers)
    assert decisions(history.trials[: len(logged.trials)]) == decisions(logged.trials)
    known = {(key(t.configuration), t.fidelity) for t in logged.trials}
    new = [t for t in history.trials[len(logged.trials) :] if t.status != "rejected"]
    assert len(new) == 2 and known.isdisjoint((key(t.configuration), t.fidelity) for t in new)
    for trial in new:
        lower = [t.id for t in logged.trials if t.configuration == trial.configuration and t.status == "ok"]
        assert trial.parent in lower if lower else trial.parent is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_init": 0}, "SmacBohb: n_init: 0; give a whole number of at least 1"),
        ({"eta": 10**30}, "SmacBohb: eta: 1000000000000000000000000000000; give a whole number of at most"),
        ({"n_init": 2.5}, "SmacBohb: n_init: 2.5"),
        ({"retrain_after": 0}, "SmacBohb: retrain_after: 0"),
        ({"min_trials": -1}, "SmacBohb: min_trials: -1"),
    ],
)
def test_counts_out_of_range_are_refused_at_the_door(settings, message):
    with pytest.raises(UserError, match=message):
        SmacBohb(Toy(), 0, **settings)


def test_a_condition_on_a_prior_is_refused_at_the_door():
    space = ConfigurationSpace({"a": ["x", "y"]})
    space.add(NormalFloatHyperparameter("n", 0.0, 1.0, -3, 3))
    space.add(EqualsCondition(space["n"], space["a"], "x"))
    with pytest.raises(UserError, match="no condition on n, a NormalFloat"):
        SmacBohb(Toy(space=space), 0)
