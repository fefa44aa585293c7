"""Final trainings: snapshots on the way, resume from them, tests of them by id and epoch."""

import json
import pickle
import sys
import types
from dataclasses import replace

import pytest
import torch

from jahslib.errors import UserError
from jahslib.experiments import snapshots
from jahslib.experiments.final_training import FinalTraining
from jahslib.problems.tuned_network import TunedNetwork
from jahslib.training.trainer import Training

SETTING = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-5}


@pytest.fixture(scope="module")
def problem():
    return TunedNetwork(
        data="digits", network="lenet300", per_class=8, batch_size=16, min_epochs=4, max_epochs=4, split="test"
    )


@pytest.fixture
def final(problem, tmp_path):
    def make(**options):
        return FinalTraining(**{"problem": problem, "experiment_dir": tmp_path, "snapshot_every": 2} | options)

    return make


def weights(trained, epoch):
    return torch.load(snapshots.path(trained.place, epoch), weights_only=True)["model"]


def equal(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


def files(place):
    return {file.name: file.read_bytes() for file in place.iterdir()}


class TestTraining:
    @pytest.mark.parametrize(
        ("options", "epochs"),
        [
            ({}, [2, 4]),
            ({"final_epochs": 5}, [2, 4, 5]),
            ({"snapshot": False}, [4]),
            ({"snapshot": 3}, [3, 4]),
        ],
    )
    def test_a_snapshot_every_few_epochs_and_after_the_last_each_tested(self, final, options, epochs):
        trained = final(**options).train(SETTING)
        assert snapshots.epochs(trained.place) == list(trained.tested) == epochs
        assert trained.configuration == SETTING

    def test_it_has_one_thread_so_that_the_machine_decides_nothing(self, final, monkeypatch):
        seen, run = set(), Training.run
        monkeypatch.setattr(Training, "run", lambda *a, **k: (seen.add(torch.get_num_threads()), run(*a, **k))[1])
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            final().train(SETTING)
            assert seen == {1} and torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)

    def test_every_training_has_its_own_id(self, final):
        """All trials of the original shared one, and overwrote each other's logs and snapshots."""
        first = final().train(SETTING)
        kept = weights(first, 4)
        others = [final().train(SETTING | {"lr": 0.01}), final(seed=1).train(SETTING)]
        assert len({t.place for t in (first, *others)}) == 3 and equal(kept, weights(first, 4))

    def test_resume_is_bit_for_bit_the_uninterrupted_training(self, final, tmp_path):
        whole = final(experiment_dir=tmp_path / "whole").train(SETTING)
        final(final_epochs=2).train(SETTING)
        cut = final().train(SETTING)
        assert equal(weights(whole, 4), weights(cut, 4)) and whole.tested == cut.tested
        assert whole.scalars == cut.scalars and list(cut.scalars) == [1, 2, 3, 4]

    def test_a_finished_training_is_not_repeated_unless_fresh_and_a_longer_one_goes_on(self, final):
        trained = final().train(SETTING)
        file = snapshots.path(trained.place, 4)
        before = file.stat().st_mtime_ns
        assert final().train(SETTING) == trained
        assert list(final(final_epochs=6).train(SETTING).tested) == [2, 4, 6]
        assert file.stat().st_mtime_ns == before
        assert list(final(fresh=True).train(SETTING).tested) == [2, 4] and file.stat().st_mtime_ns > before

    def test_a_named_training_goes_on_with_its_own_setting_and_seed(self, final):
        first = final(seed=3).train(SETTING)
        named = {"pre_trained_id": first.place.name, "fresh": True}  # of which it has the id, and so stays
        again = final(**named, final_epochs=6).train(SETTING | {"lr": 0.01})
        assert again.place == first.place and again.configuration == SETTING and list(again.tested) == [2, 4, 6]
        assert again.tested[2] == first.tested[2]

    def test_it_goes_on_from_the_snapshot_named(self, final):
        first = final().train(SETTING)
        (first.place / "004.pt").unlink()
        again = final(pre_trained_id=first.place.name, pre_trained_epoch=2).train(SETTING)
        assert again.tested == first.tested
        with pytest.raises(UserError, match="has no snapshot after epoch 3; there are: 2, 4"):
            final(pre_trained_id=first.place.name, pre_trained_epoch=3)

    def test_held_out_images_are_measured_only_where_there_are_any(self, final, problem):
        """In the original a training without validation crashed in its schedule."""
        unmeasured = {"epoch", "train/loss"}
        assert all(set(row) == unmeasured for row in final().train(SETTING).scalars.values())
        held = replace(problem, split="validation", schedule="step_restart")
        rows = final(problem=held, valid_interval=2, seed=1).train(SETTING).scalars
        assert [set(rows[epoch]) - unmeasured for epoch in (1, 2)] == [set(), {"valid/loss", "valid/label_accuracy"}]
        rows = final(problem=held, valid_interval=0, seed=2).train(SETTING).scalars
        assert all(set(row) == unmeasured for row in rows.values())

    def test_what_a_training_depends_on_stands_beside_it(self, final):
        import yaml

        trained = final(seed=3).train(SETTING)
        kept = yaml.safe_load((trained.place / f"{trained.place.name}_cfg.yml").read_text())
        assert kept["seeds"] == [3] and kept["data"] == ["digits"] and kept["per_class"] == 8
        assert {name: kept[name] for name in SETTING} == SETTING

    def test_an_id_of_another_training_is_refused_and_left_alone(self, final, problem):
        place = final().train(SETTING).place
        before = files(place)
        with pytest.raises(UserError, match=f"{place.name}' is a training with recipe .*not"):
            final(problem=replace(problem, batch_size=8)).train(SETTING)
        assert files(place) == before

    @pytest.mark.parametrize(
        ("bad", "setting", "said"),
        [
            ({"snapshot_every": 0}, {}, "snapshot_every: 0; give a whole number of at least 1"),
            ({"snapshot": 0}, {}, "snapshot_every: 0"),
            ({"final_epochs": 2.5}, {}, "final_epochs: 2.5"),
            ({"valid_interval": -1}, {}, "valid_interval: -1; give a whole number of at least 0"),
            ({"pre_trained_id": "../elsewhere"}, {}, "pre_trained_id: '../elsewhere' is no id"),
            ({"pre_trained_id": "abc"}, {}, "no training 'abc' in snapshot_digits_lenet300; there are: none"),
            ({"pre_trained_epoch": 2}, {}, "has no snapshot after epoch 2; there are: none"),
            ({}, {"momentum": 1.0}, "momentum: 1.0"),
        ],
    )
    def test_refuses_what_makes_no_sense_before_anything_is_written(self, final, tmp_path, bad, setting, said):
        with pytest.raises(UserError, match=said):
            final(**bad).train(SETTING | setting)
        assert not list(tmp_path.iterdir())


class TestTest:
    def test_what_is_trained_can_be_tested_by_id_and_epoch(self, final):
        """The original saved .pth and looked for .pt."""
        trained = final(final_epochs=10, snapshot_every=5).train(SETTING)
        assert trained.tested[10]["top1"] > 0.3 and trained.tested[5] != trained.tested[10]
        named = {"pre_trained_id": trained.place.name}
        assert final(**named).test() == trained
        assert final(**named, pre_trained_epoch=10).test().tested == {10: trained.tested[10]}

    @pytest.mark.parametrize("epoch", [9, "9", "009"])
    def test_an_epoch_given_as_text_is_that_epoch(self, tmp_path, epoch):
        """In the original the text '19' became '190'."""
        (tmp_path / "009.pt").touch()
        assert snapshots.path(tmp_path, epoch) == tmp_path / "009.pt"

    @pytest.mark.parametrize("epoch", ["last", 0, True, 2.5, None])
    def test_refuses_what_is_no_epoch(self, tmp_path, epoch):
        with pytest.raises(UserError, match=rf"pre_trained_epoch: {epoch!r} is no epoch"):
            snapshots.path(tmp_path, epoch)

    def test_says_which_ids_there_are_and_needs_one(self, final):
        name = final().train(SETTING).place.name
        with pytest.raises(UserError, match=f"no training 'abd' in snapshot_digits_lenet300; there are: {name}"):
            final(pre_trained_id="abd")
        with pytest.raises(UserError, match="pre_trained_id: none"):
            final().test()

    def test_a_snapshot_of_another_network_is_refused(self, final, problem):
        mnist = replace(problem, data="mnist5k")
        place = final(problem=mnist, final_epochs=1).train(SETTING).place
        other = {"problem": replace(mnist, network="lenet"), "pre_trained_id": place.name}
        with pytest.raises(UserError, match="in snapshot_mnist5k_lenet: it is one of lenet300 on mnist5k"):
            final(**other)
        moved = place.parent.parent / "snapshot_mnist5k_lenet" / place.name
        moved.parent.mkdir()
        place.rename(moved)
        with pytest.raises(UserError, match="is a training with network 'lenet300', not 'lenet'"):
            final(**other)
        made = json.loads((moved / "made_of.json").read_text()) | {"network": "lenet"}
        (moved / "made_of.json").write_text(json.dumps(made))
        with pytest.raises(UserError, match="holds the state of something else"):
            final(**other).test()

    def test_a_snapshot_of_another_number_of_classes_is_refused(self, final):
        place = final().train(SETTING).place
        made = json.loads((place / "made_of.json").read_text()) | {"classes": 100}
        (place / "made_of.json").write_text(json.dumps(made))
        with pytest.raises(UserError, match="is a training with classes 100, not 10"):
            final(pre_trained_id=place.name)

    def test_opening_a_snapshot_runs_nothing_of_it(self, final, tmp_path):
        place, trap = final().train(SETTING).place, tmp_path / "sprung"
        named = final(pre_trained_id=place.name)

        class Trap:
            def __reduce__(self):
                return (open, (str(trap), "w"))

        (place / "004.pt").write_bytes(pickle.dumps(Trap()))
        with pytest.raises(UserError, match="not a readable checkpoint"):
            named.test()
        torch.save({"model": Trap()}, place / "004.pt")
        with pytest.raises(UserError, match="not a readable checkpoint"):
            named.test()
        assert not trap.exists()

    def test_a_torn_file_is_refused(self, final):
        place = final().train(SETTING).place
        file = place / "004.pt"
        file.write_bytes(file.read_bytes()[:500])
        with pytest.raises(UserError, match="not a readable checkpoint: remove it and train again"):
            final(pre_trained_id=place.name).test()


class TestTensorBoard:
    def test_scalars_are_written_where_the_original_had_them(self, final, tmp_path, monkeypatch, problem):
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
        held = replace(problem, split="validation")
        trained = final(problem=held, final_epochs=2, tensorboard=True).train(SETTING)
        folder = str(tmp_path / "logger_digits_lenet300" / trained.place.name)
        names = ("train/loss", "valid/loss", "valid/label_accuracy")
        assert sorted(written) == sorted((folder, name, epoch) for name in names for epoch in (1, 2))
        assert closed == [folder]

    def test_without_the_package_nothing_is_begun(self, final, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        with pytest.raises(UserError, match=r"pip install \"jahslib\[tensorboard\]"):
            final(tensorboard=True).train(SETTING)
        assert not list(tmp_path.iterdir())

    def test_with_the_package_events_are_written(self, final, tmp_path):
        trained = final(final_epochs=1, tensorboard=True).train(SETTING)
        assert list((tmp_path / "logger_digits_lenet300" / trained.place.name).glob("events*"))
