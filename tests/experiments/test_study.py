"""A study's runs: what its methods share, how their results are joined to them, and final trainings."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from jahslib.core.optimizer import Listed
from jahslib.core.problem import Fidelity
from jahslib.core.trials import key
from jahslib.errors import UserError
from jahslib.experiments.study import Method, Study
from jahslib.optimizers.random_search import RandomSearch
from jahslib.optimizers.sobol import Sobol
from jahslib.search import Budget, logfiles, triallog
from jahslib.search.search import fingerprint
from tests.conftest import PRECISION, Toy, tiny_space

METHODS = {"rs": Method("random", Toy(high=3), RandomSearch), "sobol": Method("Sobol", Toy(high=3), Sobol)}
BUDGET = Budget(trials=2)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    plain = {"working_dir": None, "profile": "smoke", "workers": 1, "scheduler": None, "fresh": False}
    return Study("90_toy", SimpleNamespace(**plain))


def test_every_method_runs_with_every_seed_under_one_budget(study, tmp_path):
    plan = study.plan(METHODS, [0, 1], BUDGET)
    assert [r.log.name for r in plan] == ["rs-seed0.jsonl", "sobol-seed0.jsonl", "rs-seed1.jsonl", "sobol-seed1.jsonl"]
    assert {r.budget for r in plan} == {BUDGET} and plan == study.planned
    assert all(r.log.parent == tmp_path / "results/smoke/90_toy/logs" for r in plan)
    assert not list(tmp_path.iterdir())


def test_searches_are_joined_to_their_runs_and_their_incumbents_trained(study):
    plan = study.plan(METHODS, [0, 1], BUDGET, tested=lambda p: Toy(high=2), task="toy", log="{task}-{method}-{seed}")
    searches = study.retrain(study.run(plan), 3)
    assert [(s.task, s.method, s.label, s.seed) for s in searches][:2] == [
        ("toy", "rs", "random", 0),
        ("toy", "sobol", "Sobol", 0),
    ]
    for s in searches:
        assert s.epochs == 6 and [t.configuration for t in s.tests] == [s.incumbent.configuration] * 3
        (log,) = study.folder.glob(f"logs/test-{s.name}-*.jsonl")
        assert triallog.read(log).fingerprint["problem"]["fidelity"] == [1, 2]
    assert len(study.log_files) == 8


def test_final_trainings_may_be_named_otherwise_than_the_searches(study):
    found = study.run(study.plan(METHODS, [0], BUDGET, tested=lambda p: Toy(high=2), log="{method}-{seed}-9points"))
    study.retrain(found, 1, name="{method}-{problem.name}-{seed}")
    assert [log.name.rpartition("-")[0] for log in sorted(study.folder.glob("logs/test-*"))] == [
        f"test-{method}-{Toy.name}-0" for method in METHODS
    ]


def test_incumbents_are_evaluated_again_on_the_problem_they_were_found_on(study):
    """From other weights; a second call trains nothing, and one for more goes on."""
    found = study.run(study.plan(METHODS, [0, 1], BUDGET, tested=lambda p: Toy(high=2)))
    again = study.evaluate_again(found)
    logs = {log.name: log.read_bytes() for log in study.folder.glob("logs/again-*.jsonl")}
    assert len(logs) == 4
    for s in again:
        (trial,) = s.tests
        (log,) = study.folder.glob(f"logs/again-{s.method}-seed{s.seed}-*.jsonl")
        assert trial.configuration == s.incumbent.configuration and trial.fidelity == 3
        assert triallog.read(log).fingerprint == fingerprint_of(s)
    assert study.evaluate_again(found) == again
    assert logs == {log.name: log.read_bytes() for log in study.folder.glob("logs/again-*.jsonl")}
    assert [len(s.tests) for s in study.evaluate_again(found[:1], 2)] == [2]


def fingerprint_of(s):
    seed = 1_000_000 + s.seed
    return fingerprint(s.problem, Listed(s.problem, seed, [s.incumbent.configuration]), seed)


def test_a_problem_may_be_made_for_each_seed_and_judged_by_another(study):
    def of_seed(seed, constraints=()):
        return Toy(constraints, high=3 + seed)

    method = Method("blind", of_seed, RandomSearch, judged=lambda seed: of_seed(seed, [PRECISION]))
    plan = study.plan({"rs": method}, [0, 1], BUDGET, tested=lambda p: p)
    assert [r.problem.fidelity.high for r in plan] == [3, 4] and not plan[0].problem.constraints
    found = study.run(plan)
    assert all(s.problem.constraints == s.tested.constraints == (PRECISION,) for s in found)


def test_a_plan_may_say_what_all_its_methods_search(study):
    problem = Toy(high=2)
    methods = {"rs": Method("random", None, RandomSearch), "sobol": METHODS["sobol"]}
    plan = study.plan(methods, [0], BUDGET, problem=problem)
    assert all(run.problem is problem is run.optimizer.problem for run in plan)


def test_given_configurations_are_trained_in_turn(study):
    given = {"norm": True, "kernel": 5}
    runs = {"five": study.trainings(Toy(space=tiny_space()), [given] * 2, "five", method="given", seed=3)}
    assert [t.configuration for t in study.train(runs)["five"]] == [given] * 2
    assert runs["five"] in study.planned and triallog.read(runs["five"].log).header["method"] == "given"


@pytest.mark.parametrize("form", ["plain", "packed"])
def test_more_or_fewer_trainings_go_on_from_those_that_are_there(study, form):
    problem, first = Toy(), {"kernel": 5, "layers": 1, "norm": True, "rate": 1e-3}
    last = first | {"norm": False, "kernel": 3}

    def trained(count, log="wanted", first=first):
        run = study.trainings(problem, [first, *[last] * count], log, method="given", seed=3)
        run.check()
        return [(t.configuration, t.metrics) for t in study.train({"all": run})["all"]]

    whole = trained(4, "at once")
    assert trained(2) == whole[:3]
    log = study.folder / "logs" / "wanted.jsonl"
    if form == "packed":
        assert logfiles.pack([log], log.with_name("all.jsonl.xz")) == 1
    assert trained(1) == whole[:2]
    assert [trained(count) for count in (4, 3, 4)] == [whole, whole[:4], whole]
    assert len(triallog.read(log).trials) == 5
    with pytest.raises(UserError, match=r"wanted\.jsonl.*optimizer\.configurations"):
        trained(4, first=last)


def test_trainings_come_in_the_order_of_their_proposals(study):
    class FirstIsLast(Toy):
        def evaluate(self, job):
            if job.configuration["kernel"] == 3:
                time.sleep(0.3)
            return super().evaluate(job)

    given = [{"norm": True, "kernel": kernel} for kernel in (3, 5, 5)]
    run = study.trainings(FirstIsLast(space=tiny_space()), given, "log", method="m", seed=0)
    with ThreadPoolExecutor(2) as executor:
        finished = run(executor=executor, workers=2)
    assert [t.id for t in finished][-1] == 0
    assert [t.id for t in study.train({"all": run})["all"]] == [0, 1, 2]


def test_a_search_without_a_full_training_is_named(study):
    plan = study.plan({"rs": Method("random", Toy(space=tiny_space()), RandomSearch)}, [0], BUDGET)
    plan[0].problem.evaluate = lambda job: 1 / 0
    with pytest.raises(UserError, match=r"rs-seed0: no full training within .* epochs"):
        study.run(plan)


class TestCheck:
    def test_asks_every_problem_once(self, study):
        asked = []

        class Asked(Toy):
            def check(self):
                asked.append(self)

        problem, tested = Asked(), Asked()
        study.plan({"rs": Method("random", problem, RandomSearch)}, [0, 1, 2], BUDGET, tested=lambda p: tested)
        study.check()
        assert asked == [problem, tested]

    def test_refuses_the_log_of_another_search(self, study):
        study.run(study.plan(METHODS, [0], BUDGET))
        study.planned.clear()
        study.plan({"rs": Method("random", Toy(high=9), RandomSearch)}, [0], BUDGET)
        with pytest.raises(UserError, match="another search"):
            study.check()
        study.settings.fresh = True
        study.check()

    def test_what_it_reads_of_other_studies_is_never_begun_anew(self, tmp_path):
        plain = {"working_dir": None, "profile": "smoke", "workers": 1, "scheduler": None, "fresh": True}
        other = Study("89_other", SimpleNamespace(**plain), folder=tmp_path)
        (run,) = other.plan({"rs": METHODS["rs"]}, [0], BUDGET)
        assert run.log.parent == tmp_path / "logs"
        run()
        other.check()
        Study("90_toy", SimpleNamespace(**plain), reads=[run]).check()
        text = run.log.read_text().replace('"seed": 0', '"seed": 1')
        run.log.write_text(text)
        other.check()  # a fresh one replaces it
        with pytest.raises(UserError):
            Study("90_toy", SimpleNamespace(**plain), reads=[run]).check()


class Lucky(Toy):
    """With kernel 3 a training is good by luck, every other time; with a larger one it is always rather good."""

    def evaluate(self, job):
        outcome = super().evaluate(job)
        lucky = job.configuration["kernel"] == 3
        outcome.metrics["accuracy"] = (0.9 if job.seed % 2 else 0.0) if lucky else 0.8
        return outcome


def test_the_luck_of_one_training_does_not_choose_a_confirmed_incumbent(study):
    (found,) = study.run(study.plan({"rs": METHODS["rs"]}, [0], Budget(trials=8), problem=Lucky(high=3)))
    (confirmed,) = study.confirm([found], candidates=8, repeats=20)
    assert found.incumbent.metrics["accuracy"] == 0.9 and found.incumbent.configuration["kernel"] == 3
    assert confirmed.incumbent.metrics["accuracy"] == pytest.approx(0.8)
    assert confirmed.incumbent.configuration["kernel"] > 3
    (log,) = study.folder.glob("logs/confirm-*")
    before = log.read_bytes()
    assert study.confirm([found], 8, 20) == [confirmed] and log.read_bytes() == before
    assert study.confirm([found], 0, 20) == [found]


def test_a_search_of_a_frozen_problem_can_be_confirmed(study):
    @dataclass(frozen=True)
    class Frozen(Lucky):
        fail: str = ""
        space, fidelity, delay = Lucky().space, Fidelity(1, 3), 0.0

    (found,) = study.run(study.plan({"rs": METHODS["rs"]}, [0], Budget(trials=4), problem=Frozen()))
    (confirmed,) = study.confirm([found], candidates=2, repeats=2)
    assert confirmed.confirmed is not None and found.problem.repeats == 1


@pytest.mark.parametrize("candidates", [1, 3])
def test_more_repeats_go_on_with_the_logs_of_fewer(study, candidates):
    (found,) = study.run(study.plan({"rs": METHODS["rs"]}, [0], Budget(trials=4), problem=Lucky(high=3)))

    def trained(repeats):
        study.confirm([found], candidates, repeats)
        (log,) = study.folder.glob("logs/confirm-*")
        trials = triallog.read(log).trials
        assert set(Counter(key(t.configuration) for t in trials).values()) == {repeats}
        return trials

    fewer = trained(2)
    for repeats in (3, 5):
        more = trained(repeats)
        assert more[: len(fewer)] == fewer and len(more) == candidates * repeats
        fewer = more
