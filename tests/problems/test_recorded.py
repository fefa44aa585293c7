import math
import pickle
import re
import statistics

import numpy as np
import pytest

from jahslib import paths
from jahslib.core.optimizer import Listed
from jahslib.core.problem import Job, Outcome
from jahslib.errors import UserError
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.random_search import RandomSearch
from jahslib.problems.constrained_cnn import ConstrainedCNN
from jahslib.problems.function import Function
from jahslib.problems.recorded import Recorded
from jahslib.problems.tuned_network import TunedNetwork
from jahslib.search import Budget, logfiles, search, triallog
from jahslib.spaces import configurations as spaces
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.space import GrammarSpace
from tests.conftest import PRECISION, SIZE, Toy, decisions, tiny_space


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """Searches of the toy: random, and in Hyperband brackets with continued trials."""
    toy, folder = Toy([SIZE, PRECISION]), tmp_path_factory.mktemp("logs")
    rs, ea = folder / "rs.jsonl", folder / "ea.jsonl"
    search(toy, RandomSearch(toy, 0), Budget(trials=30), rs, seed=0)
    search(toy, Evolution(toy, 3, pop_size=5, hyperband=True), Budget(epochs=120), ea, seed=3)
    return rs, ea


@pytest.mark.parametrize("hyperband", [False, True])
def test_a_search_replayed_is_the_search(toy, logged, tmp_path, hyperband):
    log = logged[hyperband]
    problem = Recorded(toy, [log])
    recorded = triallog.read(log)
    optimizer = Evolution(problem, 3, pop_size=5, hyperband=True) if hyperband else RandomSearch(problem, 0)
    budget = Budget(**recorded.end["budget"])  # type: ignore[index]
    history = search(problem, optimizer, budget, tmp_path / "again.jsonl", seed=99)  # the seed trains nothing
    same = {}
    for trial in recorded.trials:
        same.setdefault((spaces.key(trial.configuration), trial.fidelity), []).append(trial.metrics["precision"])
    for trial in recorded.trials:  # brackets may train one configuration twice, from other initial weights
        trial.metrics["precision"] = float(statistics.mean(same[spaces.key(trial.configuration), trial.fidelity]))
    assert decisions(history) == decisions(recorded.trials)
    assert problem.incumbent(history).id == toy.incumbent(recorded.trials).id
    assert {t.outputs["distance"] for t in history} == {0.0}


def test_repeated_trials_count_as_their_mean(toy, tmp_path):
    c = {"kernel": 5, "layers": 1, "norm": True, "rate": 1e-3}
    log = tmp_path / "repeats.jsonl"
    history = search(toy, Listed(toy, 0, [c] * 3), Budget(trials=3), log, seed=0)
    outcome = Recorded(toy, [log]).evaluate(Job(c, (9,), 0))
    precisions = [t.metrics["precision"] for t in history]
    assert len(set(precisions)) > 1
    assert outcome.metrics["precision"] == pytest.approx(np.mean(precisions))
    assert outcome.metrics["accuracy"] == history.trials[0].metrics["accuracy"]  # to the last bit
    assert outcome.outputs == {"recorded_trials": 3, "distance": 0.0}


def test_refuses_what_was_not_recorded(toy, logged, tmp_path):
    problem = Recorded(toy, logged[:1])
    with pytest.raises(UserError, match=r'no trial of \{"kernel".*nearest'):
        search(problem, RandomSearch(problem, 1), Budget(trials=5), tmp_path / "x.jsonl", seed=0)
    with pytest.raises(UserError, match="no trial at 4 epochs; the logs have some at 9"):
        problem.evaluate(Job(triallog.read(logged[0]).trials[0].configuration, (4,), 0))


def test_nearest_is_the_nearest_in_the_unit_cube(toy, logged, tmp_path):
    problem = Recorded(toy, logged, unknown="nearest")
    full = [t for log in logged for t in triallog.read(log).trials if t.fidelity == 9]
    configuration = spaces.sample(toy.space, np.random.default_rng(5))
    outcome = problem.evaluate(Job(configuration, (9,), 0))
    at = {spaces.key(t.configuration): spaces.encoded(toy.space, [t.configuration])[0] for t in full}
    here = spaces.encoded(toy.space, [configuration])[0]
    distances = {key: math.dist(here, point) for key, point in at.items()}
    assert outcome.outputs["distance"] == pytest.approx(min(distances.values()))
    assert distances[spaces.key(outcome.outputs["recorded"])] == min(distances.values())
    taken = [t for t in full if t.configuration == outcome.outputs["recorded"]]
    assert outcome.metrics["accuracy"] == taken[0].metrics["accuracy"]
    assert outcome.metrics["size"] == taken[0].metrics["size"]  # a whole record, not a mixture


def test_any_optimizer_runs_on_the_nearest_and_finds_no_better_than_the_best_record(toy, logged, tmp_path):
    problem = Recorded(toy, logged, unknown="nearest")
    history = search(problem, Evolution(problem, 7, pop_size=10), Budget(trials=30), tmp_path / "new.jsonl", seed=0)
    best = toy.incumbent([t for log in logged for t in triallog.read(log).trials if t.fidelity == 9])
    assert {t.status for t in history} == {"ok"}
    assert max(t.outputs["distance"] for t in history) > 0
    assert problem.cost(problem.incumbent(history)) >= toy.cost(best)
    assert problem.violation(problem.incumbent(history)) == 0


def test_the_order_of_the_logs_does_not_matter(toy, logged):
    ahead, back = (Recorded(toy, logs, unknown="nearest") for logs in (logged, logged[::-1]))
    assert ahead.describe() == back.describe()
    assert ahead.describe() != Recorded(toy, logged[:1], unknown="nearest").describe()
    assert Recorded(toy, str(logged[0])).describe() == Recorded(toy, logged[:1]).describe()
    assert ahead.describe() != Recorded(toy, logged).describe() != toy.describe()


def test_a_continued_stage_is_charged_what_is_new(toy, logged):
    problem = Recorded(toy, logged)
    trials = triallog.read(logged[1]).trials
    child = next(t for t in trials if t.parent is not None)
    parent = next(t for t in trials if t.id == child.parent)
    alone = problem.evaluate(Job(child.configuration, (child.fidelity,), 0))
    continued = problem.evaluate(Job(child.configuration, (parent.fidelity, child.fidelity), 0))
    assert (alone.epochs, continued.epochs) == (child.fidelity, child.fidelity - parent.fidelity)


def test_what_is_no_problem_cannot_be_recorded(toy, tmp_path):
    log = tmp_path / "log.jsonl"
    search(toy, RandomSearch(toy, 0), Budget(trials=1), log, seed=0)
    toy.constraints = SIZE
    for wrong, said in {"toy": "no Problem", toy: "constraints"}.items():
        with pytest.raises(UserError, match=said):
            Recorded(wrong, [log])


def test_failures_fail_again_and_rejections_are_not_looked_up(tmp_path):
    failing = Toy(space=tiny_space(), fail="raise")
    log = tmp_path / "failing.jsonl"
    before = search(failing, RandomSearch(failing, 0), Budget(trials=4), log, seed=0)
    problem = Recorded(failing, [log])
    after = search(problem, RandomSearch(problem, 0), Budget(trials=4), tmp_path / "again.jsonl", seed=0)
    assert [t.status for t in after] == [t.status for t in before]
    failed = next(t for t in after if t.status == "failed")
    assert "out of luck" in failed.reason
    strict = Toy([SIZE], space=failing.space)
    rejecting = tmp_path / "rejecting.jsonl"
    wide = {"kernel": 7, "layers": 2, "norm": True, "rate": 1e-3, "width": 512}
    strict = Toy([SIZE])
    search(strict, Listed(strict, 0, [wide]), Budget(trials=1), rejecting, seed=0)
    with pytest.raises(UserError, match="no finished trial in"):
        Recorded(strict, [rejecting])


def test_works_in_other_processes(toy, logged):
    problem = pickle.loads(pickle.dumps(Recorded(toy, logged, unknown="nearest")))
    trial = triallog.read(logged[0]).trials[0]
    assert problem.evaluate(Job(trial.configuration, (9,), 0)).metrics == trial.metrics


def test_refusals_at_the_door(toy, logged, tmp_path):
    with pytest.raises(UserError, match="no trial logs given"):
        Recorded(toy, (tmp_path / "nowhere").glob("*.jsonl"))
    with pytest.raises(UserError, match="does not exist"):
        Recorded(toy, [tmp_path / "none.jsonl"])
    with pytest.raises(UserError, match="unknown: 'guess' is unknown"):
        Recorded(toy, logged, unknown="guess")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"rs.jsonl is of another problem; differs in fidelity"):
        Recorded(Toy([SIZE, PRECISION], high=27), logged)
    loose = Toy([SIZE])
    with pytest.raises(UserError, match=r"differs in constraints; .*`ignoring`"):
        Recorded(loose, logged)
    assert Recorded(loose, logged, ignoring=("constraints",)).constraints == (SIZE,)
    grammar = Function("own", GrammarSpace(examples.grammar("cell-based")), len, worst=1)
    with pytest.raises(UserError, match="no distance in grammar space"):
        Recorded(grammar, logged, unknown="nearest")


LOGS = {name: paths.ROOT / "results/cpu" / name / "logs" for name in ("06_ax_bo", "07_constrained_EA")}


@pytest.mark.parametrize(
    ("kind", "study", "log", "seed"),
    [
        (ConstrainedCNN, "07_constrained_EA", "rs-seed0", 0),
        (TunedNetwork, "06_ax_bo", "rs-mnist-seed0", 0),
    ],
)
def test_the_studies_random_search_ends_at_its_incumbent(tmp_path, monkeypatch, kind, study, log, seed):
    """On the committed logs; the problems' images are not needed."""
    path = LOGS[study] / f"{log}.jsonl"
    if not logfiles.exists(path):
        pytest.skip(f"no {study} results of the cpu profile")
    recorded = triallog.read(path)
    described = recorded.fingerprint["problem"]
    monkeypatch.setattr(kind, "describe", lambda self: described)
    # What random search passed over was too large, and is not in the log.
    params = {spaces.key(t.configuration): t.metrics["params"] for t in recorded.trials}
    monkeypatch.setattr(kind, "known", lambda self, c: {"params": params.get(spaces.key(c), math.inf)})
    problem = kind(**{name: value for name, value in described.items() if name in kind.__dataclass_fields__})
    again = Recorded(problem, [path])
    budget = Budget(trials=len(recorded.trials))
    history = search(again, RandomSearch(again, seed), budget, tmp_path / "again.jsonl", seed=seed)
    assert decisions(history) == decisions(recorded.trials)
    assert again.incumbent(history).id == problem.incumbent(recorded.trials).id


def test_the_pages_example_runs(tmp_path, monkeypatch, capsys):
    """Up to what the problem asks of its images, which need not be at hand."""
    blocks = re.findall(r"```python\n(.*?)```", (paths.ROOT / "docs/data.md").read_text(), re.DOTALL)
    (example,) = [block for block in blocks if "Recorded" in block]
    described = triallog.read(LOGS["06_ax_bo"] / "rs-mnist-seed0.jsonl").fingerprint["problem"]
    monkeypatch.setattr(TunedNetwork, "describe", lambda self: described)
    monkeypatch.setattr(TunedNetwork, "known", lambda self, configuration: {})
    monkeypatch.delenv("JAHSLIB_RESULTS", raising=False)  # the page reads the committed logs
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    assert "best feasible is trial" in capsys.readouterr().out
    assert len(triallog.read(tmp_path / "again.jsonl").trials) == 25


def test_nothing_is_trained(toy, logged, monkeypatch, tmp_path):
    monkeypatch.setattr(Toy, "evaluate", lambda self, job: Outcome({}, 1 / 0))
    problem = Recorded(toy, logged[:1])
    history = search(problem, RandomSearch(problem, 0), Budget(trials=30), tmp_path / "again.jsonl", seed=0)
    assert {t.status for t in history} == {"ok"}
