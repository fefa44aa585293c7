"""Checkpoints: whole or not at all, loaded without running anything, random numbers continued."""

import pickle
from pathlib import Path

import pytest
import torch

from jahslib import checkpoints, triallog
from jahslib.errors import UserError
from jahslib.optimizers.evolution import Evolution
from jahslib.problems.constrained_cnn import ConstrainedCNN
from jahslib.search import Budget, search
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


def test_another_kind_of_device_is_refused_where_random_numbers_would_go_on(tmp_path, generators):
    checkpoints.write(tmp_path / "a.pt", torch.device("cuda"), generators, epoch=1)
    with pytest.raises(UserError, match="was saved on cuda: restore it there, not on cpu"):
        checkpoints.read(tmp_path / "a.pt", CPU)
    assert checkpoints.read(tmp_path / "a.pt")["epoch"] == 1
