import json
import pickle
import sys
import types
from dataclasses import replace

import pytest
import torch

from jahslib.errors import UserError
from jahslib.experiments import final_training
from jahslib.problems.tuned_network import TunedNetwork

SETTING = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-5}


@pytest.fixture(scope="module")
def problem():
    return TunedNetwork(data="digits", network="lenet300", per_class=8, batch_size=16, max_epochs=4, split="test")


@pytest.fixture
def train(problem, tmp_path):
    def run(epochs=4, every=2, configuration=SETTING, problem=problem, **options):
        return final_training.train(
            problem, configuration, experiment_dir=tmp_path, epochs=epochs, every=every, **options
        )

    return run


@pytest.fixture
def tested(problem, tmp_path):
    def run(id, epoch, configuration=SETTING, problem=problem):
        return final_training.test(problem, experiment_dir=tmp_path, configuration=configuration, id=id, epoch=epoch)

    return run


def weights(place, epoch):
    return torch.load(final_training.path(place, epoch), weights_only=True)["model"]


def equal(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


class TestTraining:
    def test_a_snapshot_every_few_epochs_and_after_the_last(self, train):
        assert final_training.epochs(train(epochs=5, every=2)) == [2, 4, 5]

    def test_every_training_has_its_own_id(self, train):
        """All trials of the original shared one, and overwrote each other's logs and snapshots."""
        first = train()
        kept = weights(first, 4)
        others = [train(configuration=SETTING | {"lr": 0.01}), train(seed=1)]
        assert len({first, *others}) == 3 and equal(kept, weights(first, 4))

    def test_resume_is_bit_for_bit_the_uninterrupted_training(self, train):
        whole = train(id="whole")
        train(epochs=2, id="cut")
        cut = train(id="cut")
        assert equal(weights(whole, 4), weights(cut, 4))
        assert final_training.read_scalars(whole) == final_training.read_scalars(cut)
        assert [row["epoch"] for row in final_training.read_scalars(cut)] == [1, 2, 3, 4]

    def test_a_finished_training_is_not_repeated_and_a_longer_one_goes_on(self, train):
        place = train()
        before = final_training.path(place, 4).stat().st_mtime_ns
        assert train() == place and final_training.path(place, 4).stat().st_mtime_ns == before
        assert final_training.epochs(train(epochs=6)) == [2, 4, 6]
        assert final_training.path(place, 4).stat().st_mtime_ns == before

    def test_it_goes_on_from_the_snapshot_named(self, train):
        place = train()
        (place / "004.pt").unlink()
        assert final_training.epochs(train(from_epoch=2)) == [2, 4]
        with pytest.raises(UserError, match="has no snapshot after epoch 3; there are: 2, 4"):
            train(from_epoch=3)

    def test_held_out_images_are_measured_only_where_there_are_any(self, train, problem):
        """In the original a training without validation crashed in its schedule."""
        assert all(set(row) == {"epoch", "train/loss"} for row in final_training.read_scalars(train()))
        held = replace(problem, split="validation", schedule="step_restart")
        rows = final_training.read_scalars(train(problem=held, id="held", validate_every=2))
        assert [set(row) - {"epoch", "train/loss"} for row in rows[:2]] == [
            set(),
            {"valid/loss", "valid/label_accuracy"},
        ]
        rows = final_training.read_scalars(train(problem=held, id="unseen", validate_every=0))
        assert all(set(row) == {"epoch", "train/loss"} for row in rows)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"configuration": SETTING | {"lr": 0.02}}, r"'mine' is a training with configuration .*0.05"),
            ({"seed": 3}, "'mine' is a training with seed 0, not 3"),
        ],
    )
    def test_an_id_of_another_training_is_refused_and_left_alone(self, train, change, said):
        place = train(id="mine")
        before = {file.name: file.read_bytes() for file in place.iterdir()}
        with pytest.raises(UserError, match=said):
            train(id="mine", **change)
        assert {file.name: file.read_bytes() for file in place.iterdir()} == before

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"every": 0}, "snapshot: 0; give a whole number of at least 1"),
            ({"epochs": 2.5}, "num_epoch: 2.5"),
            ({"id": "../elsewhere"}, "pre_trained_id: '../elsewhere' is no id"),
            ({"from_epoch": 2}, "pre_trained_id: no training 'de.*' in snapshot_digits_lenet300; there are: none"),
            ({"configuration": SETTING | {"momentum": 1.0}}, "momentum: 1.0 never forgets"),
        ],
    )
    def test_refuses_what_makes_no_sense_before_anything_is_written(self, train, tmp_path, bad, said):
        said = said.replace("de.*", final_training.identity(SETTING, 0))
        with pytest.raises(UserError, match=said):
            train(**bad)
        assert not list(tmp_path.iterdir())


class TestTest:
    def test_what_is_trained_can_be_tested_by_id_and_epoch(self, train, tested):
        """The original saved .pth and looked for .pt."""
        place = train(epochs=10, every=5, id="abc")
        early, late = tested("abc", 5), tested("abc", 10)
        assert late["top1"] > 0.3 and early != late
        assert tested(place.name, 10) == late

    @pytest.mark.parametrize("epoch", [9, "9", "009"])
    def test_an_epoch_given_as_text_is_that_epoch(self, train, tested, epoch):
        """In the original the text '19' became '190'."""
        train(epochs=9, every=9, id="abc")
        assert tested("abc", epoch) == tested("abc", 9)

    @pytest.mark.parametrize("epoch", ["last", 0, True, 2.5, None])
    def test_refuses_what_is_no_epoch(self, train, tested, epoch):
        train(id="abc")
        with pytest.raises(UserError, match=rf"pre_trained_epoch: {epoch!r} is no epoch"):
            tested("abc", epoch)

    def test_says_which_ids_and_epochs_there_are(self, train, tested):
        train(id="abc")
        with pytest.raises(UserError, match="no training 'abd' in snapshot_digits_lenet300; there are: abc"):
            tested("abd", 4)
        with pytest.raises(UserError, match="abc has no snapshot after epoch 3; there are: 2, 4"):
            tested("abc", 3)

    def test_a_snapshot_of_another_network_is_refused(self, train, tested, problem):
        mnist = replace(problem, data="mnist5k")
        place = train(problem=mnist, epochs=1, id="abc")
        other = replace(mnist, network="lenet")
        with pytest.raises(
            UserError, match="no training 'abc' in snapshot_mnist5k_lenet: it is one of lenet300 on mnist5k"
        ):
            tested("abc", 1, problem=other)
        moved = place.parent.parent / "snapshot_mnist5k_lenet" / "abc"
        moved.parent.mkdir()
        place.rename(moved)
        with pytest.raises(UserError, match="'abc' is a training with network 'lenet300', not 'lenet'"):
            tested("abc", 1, problem=other)
        made = json.loads((moved / "made_of.json").read_text()) | {"network": "lenet"}
        (moved / "made_of.json").write_text(json.dumps(made))
        with pytest.raises(UserError, match="holds another network"):
            tested("abc", 1, problem=other)

    def test_a_snapshot_of_another_number_of_classes_is_refused(self, train, tested, problem):
        place = train(id="abc")
        made = json.loads((place / "made_of.json").read_text()) | {"classes": 100}
        (place / "made_of.json").write_text(json.dumps(made))
        with pytest.raises(UserError, match="'abc' is a training with classes 100, not 10"):
            tested("abc", 4)

    def test_opening_a_snapshot_runs_nothing_of_it(self, train, tested, tmp_path):
        place, trap = train(id="abc"), tmp_path / "sprung"

        class Trap:
            def __reduce__(self):
                return (open, (str(trap), "w"))

        (place / "004.pt").write_bytes(pickle.dumps(Trap()))
        with pytest.raises(UserError, match="not a readable checkpoint"):
            tested("abc", 4)
        torch.save({"model": Trap()}, place / "004.pt")
        with pytest.raises(UserError, match="not a readable checkpoint"):
            tested("abc", 4)
        assert not trap.exists()

    def test_a_torn_file_is_refused(self, train, tested):
        place = train(id="abc")
        file = place / "004.pt"
        file.write_bytes(file.read_bytes()[:500])
        with pytest.raises(UserError, match="not a readable checkpoint: remove it and train again"):
            tested("abc", 4)


class TestTensorBoard:
    def test_scalars_are_written_where_the_original_had_them(self, train, tmp_path, monkeypatch, problem):
        written, closed = [], []

        class Writer:
            def __init__(self, folder):
                self.folder = folder

            def add_scalar(self, name, value, step):
                written.append((self.folder, name, step))

            def close(self):
                closed.append(self.folder)

        fake = types.SimpleNamespace(SummaryWriter=Writer)
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
        train(epochs=2, id="abc", problem=replace(problem, split="validation"), tensorboard=True)
        folder = str(tmp_path / "logger_digits_lenet300" / "abc")
        names = ("train/loss", "valid/loss", "valid/label_accuracy")
        assert sorted(written) == sorted((folder, name, epoch) for name in names for epoch in (1, 2))
        assert closed == [folder]

    def test_without_the_package_nothing_is_begun(self, train, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        with pytest.raises(UserError, match="tensorboard: the package is not installed"):
            train(tensorboard=True)
        assert not list(tmp_path.iterdir())

    def test_with_the_package_events_are_written(self, train, tmp_path):
        train(epochs=1, id="abc", tensorboard=True)
        assert list((tmp_path / "logger_digits_lenet300" / "abc").glob("events*"))
