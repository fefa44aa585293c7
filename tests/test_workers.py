import pytest

from jahslib.errors import UserError
from jahslib.optimizers.evolution import Evolution
from jahslib.search import Budget, search
from jahslib.workers import InProcess, pool
from tests.conftest import PRECISION, SIZE, Toy, decisions


def evolve(path, **options):
    problem = Toy([SIZE, PRECISION])
    optimizer = Evolution(problem, 0, pop_size=4, num_children=2, hyperband=True)
    return search(problem, optimizer, Budget(trials=12), path, seed=0, **options)


def test_one_worker_is_this_process():
    with pool(1) as executor:
        assert isinstance(executor, InProcess)


def test_in_process_errors_arrive_with_the_result():
    future = InProcess().submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        future.result()


def test_a_dask_cluster_gives_the_same_trials(tmp_path):
    distributed = pytest.importorskip("distributed")
    options = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "processes": False,
        "protocol": "tcp",
        "dashboard_address": None,
    }
    with distributed.LocalCluster(**options) as cluster:
        with pool(2, scheduler=cluster.scheduler_address) as executor:
            there = evolve(tmp_path / "dask.jsonl", executor=executor, workers=2)
    here = evolve(tmp_path / "here.jsonl")

    def known(history):
        return sorted((t.id, t.configuration, t.metrics) for t in history if t.bracket is None or t.bracket == 0)

    assert known(there) == known(here) and len(decisions(there)) == 12


def test_an_absent_scheduler_is_named():
    with pytest.raises(UserError, match=r"nothing answers at .tcp://127\.0\.0\.1:1."):
        with pool(2, scheduler="tcp://127.0.0.1:1"):
            pass
