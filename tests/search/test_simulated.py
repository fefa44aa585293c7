"""Workers on a simulated clock."""

from jahslib.optimizers.random_search import RandomSearch
from jahslib.search import Budget, search
from jahslib.search.runs import Run
from jahslib.search.workers import SimulatedWorkers
from tests.conftest import Toy, rich_space


class Timed(Toy):
    """Trains 1, 2 or 3 units of time, by its kernel."""

    def training_seconds(self, job):
        return (job.configuration["kernel"] - 1) / 2


def searched(path, workers, **options):
    problem = Timed(space=rich_space())
    return search(problem, RandomSearch, Budget(trials=12), path, seed=0, workers=workers, **options)


def test_simulated_workers_finish_in_the_order_of_their_trainings_ends(tmp_path):
    history = searched(tmp_path / "log.jsonl", 3, executor=SimulatedWorkers())
    ends = [t.started + t.seconds for t in history]
    assert ends == sorted(ends) and len({t.started for t in history if t.started == 0}) == 1
    for now in {t.started for t in history}:
        assert sum(t.started <= now < t.started + t.seconds for t in history) <= 3
    busy = sum(t.seconds for t in history) / (3 * max(ends))
    assert busy > 0.75


def test_one_simulated_worker_trains_one_after_another(tmp_path):
    history = searched(tmp_path / "log.jsonl", 1, executor=SimulatedWorkers())
    alone = searched(tmp_path / "real.jsonl", 1)
    assert [t.configuration for t in history] == [t.configuration for t in alone]
    assert history.trials[-1].started + history.trials[-1].seconds == sum(t.seconds for t in history)


def test_a_simulated_run_under_a_larger_budget_has_one_clock(tmp_path):
    def run(name, trials):
        problem = Timed(space=rich_space())
        optimizer, budget = RandomSearch(problem, 0), Budget(trials=trials)
        return Run(problem, optimizer, budget, tmp_path / name, 0, "rs", "toy", "smoke", simulated=2)()

    run("log.jsonl", 6)
    for _ in range(2):
        assert [t.started for t in run("log.jsonl", 12)] == [t.started for t in run("at_once.jsonl", 12)]


def test_a_short_training_overtakes_a_long_one_and_twice_the_same(tmp_path):
    simulated = searched(tmp_path / "log.jsonl", 2, executor=SimulatedWorkers())
    assert [t.id for t in simulated] != sorted(t.id for t in simulated)
    again = searched(tmp_path / "again.jsonl", 2, executor=SimulatedWorkers())
    assert [t.id for t in again] == [t.id for t in simulated]
