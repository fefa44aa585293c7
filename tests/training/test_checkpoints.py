"""Checkpoints: whole or not at all, loaded without running anything, random numbers continued."""

import os
import pickle
import random
from pathlib import Path

import pytest
import torch

from jahslib.errors import UserError
from jahslib.optimizers.evolution import Evolution
from jahslib.problems.constrained_cnn import ConstrainedCNN
from jahslib.search import Budget, search, triallog
from jahslib.training import checkpoints
from tests.conftest import decisions

CPU = torch.device("cpu")


@pytest.fixture
def generators():
    return {name: torch.Generator().manual_seed(i) for i, name in enumerate(("order", "layers"))}


def drawn(generators):
    return {name: torch.rand(3, generator=generator).tolist() for name, generator in generators.items()}


def test_what_was_written_is_read_and_random_numbers_continue(tmp_path, generators):
    drawn(generators)
    checkpoints.write(tmp_path / "a.pt", CPU, generators, model={"w": torch.arange(3.0)}, epoch=4, losses=[0.5])
    expected = drawn(generators)
    state = checkpoints.read(tmp_path / "a.pt", CPU)
    assert state["model"]["w"].tolist() == [0, 1, 2] and (state["epoch"], state["losses"]) == (4, [0.5])
    others = {name: torch.Generator() for name in generators}
    checkpoints.restore(others, state)
    assert drawn(others) == expected


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, generators, monkeypatch):
    path = tmp_path / "a.pt"
    checkpoints.write(path, CPU, generators, epoch=1)

    def full(part, content):
        part.open("wb").write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"a.pt: cannot be written \(No space left on device\); mend"):
        checkpoints.write(path, CPU, generators, epoch=2)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]
    assert checkpoints.read(path)["epoch"] == 1


def test_a_full_disk_ends_a_search_and_no_trial_has_failed_for_it(tmp_path, monkeypatch):
    """Space for log lines, none for checkpoints: with space the same search goes on as if nothing had been."""
    problem = ConstrainedCNN(data="digits", per_class=20, folds=3, folds_used=1, min_epochs=1, max_epochs=4)
    optimizer = Evolution(problem, 0, pop_size=1, num_children=1, hyperband=True)
    log, budget = tmp_path / "log.jsonl", Budget(trials=4)
    whole = search(problem, optimizer, budget, tmp_path / "whole.jsonl", seed=0)
    assert any(not t.final for t in whole)

    def full(part, content):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(UserError, match="No space left on device"):
            search(problem, optimizer, budget, log, seed=0)
    assert {t.status for t in triallog.read(log).trials} <= {"ok"}
    assert decisions(search(problem, optimizer, budget, log, seed=0)) == decisions(whole)


class Harm:
    def __reduce__(self):
        return print, ("run on loading",)


def test_nothing_in_a_file_is_run(tmp_path, capsys):
    torch.save({"model": Harm()}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Harm()))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(UserError, match=f"{name} is not a readable checkpoint: remove it and train again"):
            checkpoints.read(tmp_path / name)
    assert "run on loading" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, b"", b"no zip"])
def test_a_missing_or_damaged_file_is_refused_with_what_to_do(tmp_path, content):
    path = tmp_path / "a.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="not a readable checkpoint: remove it and search again"):
        checkpoints.read(path, CPU, again="search again")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.pt")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        checkpoints.read(tmp_path / "a.pt")


def test_one_flipped_bit_or_a_missing_end_is_noticed_anywhere(tmp_path, generators):
    path = tmp_path / "a.pt"
    checkpoints.write(path, CPU, generators, model={"w": torch.arange(100.0)}, epoch=4)
    content, chance = path.read_bytes(), random.Random(0)
    for bit in [*range(8 * len(content) - 700, 8 * len(content)), *chance.sample(range(8 * len(content)), 200)]:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="not a readable checkpoint"):
            checkpoints.read(path)
    for size in range(0, len(content), 97):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match="not a readable checkpoint"):
            checkpoints.read(path)


def test_files_are_torchs(tmp_path, generators):
    path = tmp_path / "a.pt"
    checkpoints.write(path, CPU, generators, model={"w": torch.arange(3.0)})
    assert torch.load(path, weights_only=True)["model"]["w"].tolist() == [0, 1, 2]


def test_a_torch_file_of_something_else_is_refused(tmp_path):
    torch.save({"device": "cpu", "generators": {}}, tmp_path / "a.pt")
    (tmp_path / "b.pt").mkdir()
    for name in ("a.pt", "b.pt"):
        with pytest.raises(UserError, match="not a readable checkpoint: remove it and train again"):
            checkpoints.read(tmp_path / name, CPU)


def test_the_state_of_another_optimizer_is_refused(tmp_path, generators):
    layer = torch.nn.Linear(2, 1)
    adam, sgd = torch.optim.Adam(layer.parameters()), torch.optim.SGD(layer.parameters(), momentum=0.9)
    for state, optimizer in ((sgd.state_dict(), adam), (adam.state_dict(), sgd), ({}, sgd), (None, sgd)):
        with (
            pytest.raises(UserError, match=r"a\.pt holds the state of something else: restore it with"),
            checkpoints.applied(tmp_path / "a.pt"),
        ):
            checkpoints.restore_optimizer(optimizer, state)
    checkpoints.restore_optimizer(adam, torch.optim.Adam(layer.parameters(), lr=0.5).state_dict())
    assert adam.param_groups[0]["lr"] == 0.5


def test_another_kind_of_device_is_refused_where_random_numbers_would_go_on(tmp_path, generators):
    checkpoints.write(tmp_path / "a.pt", torch.device("cuda"), generators, epoch=1)
    with pytest.raises(UserError, match="was saved on cuda: restore it there, not on cpu"):
        checkpoints.read(tmp_path / "a.pt", CPU)
    assert checkpoints.read(tmp_path / "a.pt")["epoch"] == 1
