import math
from dataclasses import replace

import pytest
import torch

from benchmarks.supernet import ordinary_search
from jahslib.errors import UserError
from jahslib.models.darts.cell import OPERATIONS
from jahslib.models.darts.stacking import node_probabilities
from jahslib.models.darts.supernet import Supernet
from jahslib.problems.darts.search import Darts, Settings
from jahslib.training.augment import flips_and_rotations
from jahslib.training.trainer import Diverged

FREE = Settings(epochs=3, batch_size=20, apply_early_stopping=False)  # one step an epoch
STEPS = replace(FREE, batch_size=12)  # two steps, of 12 and 8 images


def data(n, seed):
    """Images that are the brighter the larger their class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    images = torch.randint(0, 100, (n, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return images + (40 * labels)[:, None, None, None].to(torch.uint8), labels


def build(generator, **options):
    options = {"out_channels": (8,), "pooling": (True,), "fc": (8,), "dropout": 0.3} | options
    return Supernet(classes=4, size=8, generator=generator, **options)


def search(settings=FREE, seed=0, build=build, **options):
    return Darts(build, data(20, 0), data(16, 1), settings, seed=seed, **options)


def kept(records):
    return [replace(record, seconds=0.0) for record in records]


@pytest.mark.parametrize("surrogate", ["convex", "additive"])
def test_it_is_alternating_darts_as_written_the_plain_way(surrogate):
    def steady(generator):
        return build(generator, dropout=0.0, surrogate=surrogate)

    records = search(STEPS, build=steady).run()
    expected = ordinary_search(data(20, 0), data(16, 1), steady, STEPS)
    assert [(r.train_loss, r.val_loss) for r in records] == [pytest.approx(e, rel=1e-3) for e in expected]


@pytest.mark.parametrize("order", [1, 2])
def test_it_learns_and_records_every_epoch(order):
    settings = replace(STEPS, order=order, epochs=8, learning_rate=0.1, learning_rate_min=0.01)
    darts, seen = search(settings), []
    before = darts.probabilities
    records = darts.run(on_epoch=seen.append)
    assert records == seen == darts.records and [r.epoch for r in records] == list(range(1, 9))
    assert darts.finished and not darts.stopped
    assert records[-1].train_loss < 0.8 * records[0].train_loss and records[-1].val_loss < 0.8 * records[0].val_loss
    assert [r.surrogate for r in records] == [pytest.approx((1 - e / 8) / 2) for e in range(1, 9)]
    for record in records:
        mixture = torch.tensor(record.alphas).softmax(1)
        torch.testing.assert_close(record.mixture, mixture)
        assert record.skip_share == pytest.approx(mixture[:, OPERATIONS.index("identity")].mean().item())
        assert record.seconds > 0
    torch.testing.assert_close(darts.probabilities, node_probabilities(torch.tensor(records[-1].alphas)))
    assert not torch.allclose(darts.probabilities, before, atol=0.01)


def test_the_order_changes_the_search_but_a_step_of_next_to_nothing_does_not():
    def alphas(order, rate):
        settings = replace(FREE, epochs=1, order=order, learning_rate=rate, learning_rate_min=rate)
        # without dropout, whose masks a second-order step draws once more
        return search(settings, build=lambda g: build(g, dropout=0.0)).run()[0].alphas

    assert alphas(1, 1e-30) == alphas(2, 1e-30)
    assert alphas(1, 0.05) != alphas(2, 0.05)


@pytest.mark.parametrize("settings", [STEPS, replace(FREE, order=2, surrogate_schedule="cosine", surrogate_start=1.0)])
def test_a_killed_search_continues_bit_for_bit(tmp_path, settings):
    options = {"augment": flips_and_rotations}
    whole = search(settings, **options)
    whole.run()
    for epochs in (1, 2, None):
        part = search(settings, **options)
        if epochs != 1:
            part.restore(tmp_path / "darts.pt")
        part.run(epochs)
        part.save(tmp_path / "darts.pt")
    assert kept(part.records) == kept(whole.records)
    assert torch.equal(part.alphas, whole.alphas)
    ours, theirs = part.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [path.name for path in tmp_path.iterdir()] == ["darts.pt"]


def test_a_seed_fixes_the_search_whatever_the_global_generator_holds():
    runs = []
    for state in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(state)
            before = torch.get_rng_state()
            runs.append(kept(search(augment=flips_and_rotations).run(2)))
            assert torch.equal(before, torch.get_rng_state())
    assert runs[0] == runs[1]
    assert kept(search(seed=1, augment=flips_and_rotations).run(2)) != runs[0]


def test_skip_prevention_starts_from_the_same_weights():
    with_it, without = search(), search(replace(FREE, surrogate_schedule="none"))
    ours, theirs = with_it.model.state_dict(), without.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours) and torch.equal(with_it.alphas, without.alphas)
    assert {r.surrogate for r in without.run(2)} == {0.0}
    assert without.records[-1].alphas != with_it.run(2)[-1].alphas


def test_the_deadline_stops_between_epochs():
    darts = search()
    assert darts.run(deadline=0) == [] and darts.epoch == 0 and not darts.finished
    assert len(darts.run(deadline=math.inf)) == 3 and darts.run(deadline=math.inf) == []


def prefer(darts, name, nodes):
    """Large parameters, which a few Adam steps do not turn around."""
    with torch.no_grad():
        darts.alphas.zero_()
        darts.alphas[:, OPERATIONS.index("conv")] = 3
        darts.alphas[:nodes] = 0
        darts.alphas[:nodes, OPERATIONS.index(name)] = 3


def test_it_stops_early_when_enough_nodes_skip(tmp_path):
    stopping = replace(FREE, apply_early_stopping=True)
    darts = search(stopping)
    prefer(darts, "identity", 2)
    assert len(darts.run()) == 1 and darts.finished and darts.stopped == "2 of 6 nodes skip"
    darts.save(tmp_path / "darts.pt")
    restored = search(stopping)
    restored.restore(tmp_path / "darts.pt")
    assert restored.run() == [] and restored.stopped == darts.stopped

    for settings, name, nodes in (
        (stopping, "identity", 1),
        (stopping, "zero", 3),
        (FREE, "identity", 6),
        (replace(stopping, early_stopping_threshold=0.41), "identity", 6),  # no probability can reach it
        (replace(stopping, stopping_after_n_skips=4), "identity", 3),
    ):
        darts = search(settings)
        prefer(darts, name, nodes)
        assert len(darts.run(1)) == 1 and not darts.stopped


def test_it_stops_when_the_ranking_is_stable():
    darts = search(replace(FREE, stable_epochs=2, arch_learning_rate=1e-9))
    assert len(darts.run()) == 3 and darts.stopped == "no change of ranking for 2 epochs"


def test_augmentation_sees_training_batches_and_validation_batches_where_asked():
    for augment_validation, per_epoch in ((False, [12, 8]), (True, [12, 12, 8, 12])):
        seen = []

        def blank(images, generator, seen=seen):
            assert images.dtype == torch.float32 and 0 <= images.min() and images.max() <= 1
            seen.append(len(images))
            return torch.zeros_like(images)

        search(replace(STEPS, augment_validation=augment_validation), augment=blank).run(1)
        assert seen == per_epoch


def test_a_remainder_of_one_image_is_left_out():
    darts = Darts(build, data(13, 0), data(16, 1), STEPS, seed=0)
    assert len(darts.run(1)) == 1


def test_a_loss_that_is_not_finite_is_reported_with_its_epoch():
    darts = search()
    darts.run(1)
    with torch.no_grad():
        next(darts.model.parameters()).fill_(math.nan)
    with pytest.raises(Diverged, match="epoch 2"):
        darts.run()
    assert darts.epoch == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 3}, "order: 3 is unknown"),
        ({"surrogate_schedule": "sine"}, "surrogate_schedule: 'sine' is unknown"),
        ({"surrogate_start": 1.5}, r"surrogate_start: 1\.5"),
        ({"batch_size": 1}, "batch_size: 1; give a whole number of at least 2"),
        ({"epochs": 0}, "epochs: 0"),
        ({"learning_rate": 0.0001}, "below learning_rate_min"),
        ({"learning_rate": 0.0, "learning_rate_min": 0.0}, r"learning_rate: 0\.0; give a number above 0"),
        ({"arch_learning_rate": -1.0}, r"arch_learning_rate: -1\.0; give"),
        ({"grad_clip": 0}, "grad_clip: 0; give a number above 0"),
        ({"grad_clip": -1}, "grad_clip: -1; give"),
        ({"stopping_after_n_skips": 0}, "stopping_after_n_skips: 0; give a whole number of at least 1"),
        ({"class_weight_smoothing": 1.5}, r"class_weight_smoothing: 1\.5; give a number from 0 to 1"),
        ({"stable_epochs": 0}, "stable_epochs: 0; give a whole number of at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        replace(FREE, **options)


def test_checkpoints_that_do_not_fit_are_refused(tmp_path):
    search().save(tmp_path / "darts.pt")
    with pytest.raises(UserError, match="another batch_size"):
        search(STEPS).restore(tmp_path / "darts.pt")
    with pytest.raises(UserError, match="holds the state of something else"):
        search(build=lambda g: build(g, out_channels=(4,))).restore(tmp_path / "darts.pt")
    (tmp_path / "darts.pt").write_bytes((tmp_path / "darts.pt").read_bytes()[:2000])
    with pytest.raises(UserError, match="not a readable checkpoint"):
        search().restore(tmp_path / "darts.pt")


def test_too_few_images_are_named():
    for sizes, said in (((20, 0), "0 validation images"), ((1, 16), "1 training images")):
        with pytest.raises(UserError, match=f"DARTS: {said}; give at least 2"):
            Darts(build, data(sizes[0], 0), data(sizes[1], 1), FREE, seed=0)


def test_without_clipping_the_weights_take_larger_steps():
    def moved(grad_clip):
        darts = search(replace(FREE, epochs=1, grad_clip=grad_clip))
        before = [p.detach().clone() for p in darts.model.parameters()]
        darts.run()
        pairs = zip(darts.model.parameters(), before, strict=True)
        return sum(float((now.detach() - was).norm()) for now, was in pairs)

    assert 0 < moved(1e-3) < moved(None)
