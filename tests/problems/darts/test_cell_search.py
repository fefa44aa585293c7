"""The DARTS phase as a trial: resume after a kill, time limit, files, early stopping read from a longer search."""

import ast
import csv
import io
from dataclasses import replace

import pytest
import torch

from jahslib.core.optimizer import Listed
from jahslib.core.problem import Job
from jahslib.core.trials import Trial
from jahslib.errors import UserError
from jahslib.models.darts.stacking import uniform_probabilities
from jahslib.problems.darts.cell_search import CellSearch, CellsFound
from jahslib.problems.darts.search import Darts, Settings
from jahslib.search import Budget, search
from jahslib.search.evaluation import evaluate
from jahslib.training import checkpoints

SETTINGS = Settings(epochs=3, batch_size=20, apply_early_stopping=False, arch_learning_rate=0.05)
NETWORK = {"out_channels": (4,), "pooling": (True,), "fc": (4,)}


def task(settings=SETTINGS, **options):
    given = {"data": "digits", "settings": settings, "network": NETWORK, "per_class": 6, "augment": False, **options}
    return CellSearch(**given)


def run(problem, seed=0, **options):
    return problem.evaluate(Job({}, (problem.settings.epochs,), seed, **options))


def same(one, other):
    assert one.outputs["alphas"] == other.outputs["alphas"]
    for name in ("train_loss", "val_loss", "skip_share", "surrogate"):
        assert one.curve[name] == other.curve[name]
    assert (one.metrics, one.epochs, one.cut) == (other.metrics, other.epochs, other.cut)


@pytest.fixture(scope="module")
def whole():
    return run(task())


def test_the_log_gets_the_architecture_after_every_epoch(whole):
    assert whole.epochs == 3 and not whole.cut
    assert [len(whole.outputs["alphas"]), *map(len, whole.curve.values())] == [3] * 6
    assert whole.curve["surrogate"][-1] == 0
    assert whole.metrics["skip_share"] == whole.curve["skip_share"][-1]


def test_a_killed_search_goes_on_to_the_same_end(tmp_path, monkeypatch, whole):
    problem = task(place=tmp_path / "darts")
    with monkeypatch.context() as patch:
        epoch = Darts._run_epoch

        def killed(darts):
            if darts.epoch == 2:
                raise KeyboardInterrupt
            epoch(darts)

        patch.setattr(Darts, "_run_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            run(problem)
    assert problem.checkpoint(0).exists()
    calls = []
    monkeypatch.setattr(Darts, "_run_epoch", lambda darts: (calls.append(darts.epoch), epoch(darts)))
    same(run(problem), whole)
    assert calls == [2]


def test_a_checkpoint_holds_tensors_and_plain_values_only(tmp_path):
    problem = task(place=tmp_path)
    run(problem)
    assert torch.load(problem.checkpoint(0), weights_only=True)["settings"]["epochs"] == 3


def test_the_table_of_architecture_weights_has_one_row_an_epoch(tmp_path, whole):
    problem = task(place=tmp_path)
    run(problem)
    with problem.checkpoint(0).with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*(f"node_{n}" for n in range(2, 8)), "epoch"]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    mixture = torch.tensor(whole.outputs["alphas"][-1]).softmax(1)
    torch.testing.assert_close(torch.tensor(ast.literal_eval(rows[-1]["node_7"])), mixture[-1], atol=1e-5, rtol=0)
    other = task(place=tmp_path, save_arch_weights=False, arch_images="half")
    run(other)
    assert not other.checkpoint(0).with_suffix(".csv").exists()


def test_checkpoints_come_as_often_as_asked(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Darts, "save", lambda darts, path: saved.append(darts.epoch))
    run(task(place=tmp_path, checkpoint_freq=2))
    assert saved == [2, 3]


def test_another_search_finds_no_checkpoint_of_this_one(tmp_path):
    one = task(place=tmp_path)
    others = [task(replace(SETTINGS, order=2), place=tmp_path), task(place=tmp_path, data="mnist5k")]
    others.append(task(place=tmp_path, surrogate="additive"))
    names = {p.checkpoint(0).name for p in [one, *others]} | {one.checkpoint(1).name}
    assert len(names) == 5
    assert task(place=tmp_path, checkpoint_freq=3).checkpoint(0) == one.checkpoint(0)


def test_a_time_limit_is_kept_over_a_kill(tmp_path, monkeypatch):
    """What the killed session had spent counts: with nothing left, no epoch is run."""
    problem = task(place=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: 0.0)
        first = run(problem, deadline=-1.0)
        assert (first.epochs, first.cut, first.metrics) == (0, True, {})
    run(problem)
    path = problem.checkpoint(0)
    state = torch.load(path, weights_only=True)
    state["records"] = state["records"][:1]
    state["records"][0]["seconds"] = 1000.0
    content = io.BytesIO()
    torch.save(state, content)
    path.write_bytes(checkpoints._signed(content.getvalue()))
    monkeypatch.setattr("time.time", lambda: 0.0)
    again = run(problem, deadline=999.0)
    assert (again.epochs, again.cut) == (1, True) and again.outputs["seconds"] >= 1000.0


def test_a_search_that_was_cut_can_still_be_sampled_from(tmp_path):
    problem = task()
    problem.evaluate = lambda job: CellSearch.evaluate(problem, replace(job, deadline=0.0))
    history = search(problem, Listed(problem, 0, [{}]), Budget(trials=1, seconds=60), tmp_path / "log.jsonl", seed=0)
    (trial,) = history
    assert trial.status == "cut"
    torch.testing.assert_close(CellsFound("", 0, problem, trial).probabilities(), uniform_probabilities())


def test_stopping_early_is_a_search_that_is_read_less_far():
    keen = replace(SETTINGS, epochs=4, early_stopping_threshold=0.0, stopping_after_n_skips=1)
    until_end = run(task(keen))
    trial = Trial({}, 4, outputs=until_end.outputs)
    for skips in (1, 2, 3, 6):
        stopping = task(replace(keen, apply_early_stopping=True, stopping_after_n_skips=skips))
        stopped, whole = run(stopping), CellsFound("", 0, stopping, trial)
        assert stopped.epochs == whole.epochs_until_stop()
        assert stopped.outputs["alphas"] == until_end.outputs["alphas"][: int(stopped.epochs)]
        early = CellsFound("", 0, stopping, replace(trial, outputs=stopped.outputs))
        torch.testing.assert_close(early.probabilities(), whole.probabilities(int(stopped.epochs)))


def test_half_of_the_training_images_can_teach_the_architecture():
    own, held_out = task(arch_images="half").images()
    assert own[1].bincount().tolist() == held_out[1].bincount().tolist() == [2] * 10
    assert len(torch.cat([own[0], held_out[0]]).flatten(1).unique(dim=0)) == 40


def test_divergence_makes_the_trial_fail():
    result = evaluate(task(replace(SETTINGS, learning_rate=1e30, learning_rate_min=0.0)), Job({}, (3,), 0))
    assert result.status == "failed" and "non-finite loss" in result.reason


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"arch_images": "test"}, "arch_images: 'test' is unknown"),
        ({"checkpoint_freq": 0}, "checkpoint_freq: 0"),
        ({"network": {**NETWORK, "depth": 3}}, "model:.*known: .*out_channels"),
        ({"network": {**NETWORK, "out_channels": (4,) * 5, "pooling": (True,) * 5}}, "5 poolings halve 8-pixel"),
        ({"surrogate": "both"}, "surrogate: 'both' is unknown"),
        ({"per_class": 2}, "per_class: 2 images a class leave none for validation"),
    ],
)
def test_refuses_what_cannot_work(bad, said):
    with pytest.raises(UserError, match=said):
        task(**bad).check()


@pytest.mark.parametrize("taken", ["", ".csv"])
def test_a_place_that_is_taken_ends_the_search_and_no_trial_is_to_blame(taken, tmp_path):
    """A file where the folder of checkpoints should be, or a folder where the table beside one should be."""
    problem = task(place=tmp_path / "darts", save_arch_weights=True)
    if taken:
        problem.checkpoint(0).with_suffix(taken).mkdir(parents=True)
    else:
        (tmp_path / "darts").touch()
    with pytest.raises(UserError, match="darts"):
        evaluate(problem, Job({}, (problem.settings.epochs,), 0))
