"""A log of 100 MB has to be opened and resumed in 1 GB, so memory is held to a log's size; a smaller one tells."""

import json
import tracemalloc

import pytest

from jahslib.optimizers.random_search import RandomSearch
from jahslib.search import Budget, search, triallog
from jahslib.search.watch import Watch
from tests.conftest import Toy


@pytest.fixture
def big(tmp_path):
    """1,000 trials of some 800 bytes."""
    path, toy = tmp_path / "big.jsonl", Toy()
    search(toy, RandomSearch(toy, 0), Budget(trials=1), path, seed=0)
    header, line, _ = path.read_text().splitlines()
    trial = json.loads(line) | {"curve": {"accuracy": [0.123] * 20}}
    lines = [json.dumps(trial | {"id": id, "asked": id + 1, "elapsed": float(id)}) for id in range(1000)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def peak(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def resume(path):
    toy = Toy()
    optimizer = RandomSearch(toy, 0)
    asked, optimizer.ask = [], lambda history, ask=optimizer.ask: (asked.append(len(history)), ask(history))[1]
    assert len(search(toy, optimizer, Budget(trials=1001), path, seed=0)) == 1001
    assert asked == [1000], "asked again for what is logged"


def test_a_big_log_is_opened_and_resumed_in_memory_of_its_order(big):
    size = big.stat().st_size
    assert size > 5e5
    assert peak(lambda: triallog.read(big)) < 8 * size
    assert peak(lambda: resume(big)) < 8 * size


def test_a_big_log_is_watched_in_no_memory_to_speak_of(big):
    watch = Watch(big)
    assert peak(watch.look) < 0.15 * big.stat().st_size
    assert watch.trials == 1000
