import contextlib
import math
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jahslib.errors import UserError
from jahslib.models import flower_cnn, layers
from jahslib.training.trainer import Diverged, Recipe, Training, _GraphedStep, generators

CONFIGURATION = flower_cnn.ROW_1 | {"n_channels_conv_0": 8, "n_channels_conv_1": 12, "dropout_rate": 0.3}
RECIPE = Recipe(batch_size=32, learning_rate=0.003)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def data(n=104, classes=4):
    """Images whose class shows in which quarter of the first channel is bright; n leaves a partial last batch."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 120, (n, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(n) % classes
    for i, label in enumerate(labels.tolist()):
        images[i, 0, 4 * (label // 2) :, 4 * (label % 2) :][:4, :4] += 130
    return images, labels


def build(generator):
    return flower_cnn.build(CONFIGURATION, classes=4, size=8, generator=generator)


def training(recipe=RECIPE, seed=0, build=build, **options):
    return Training(build, *data(), recipe, seed=seed, **options)


def same_state(a, b):
    ours, theirs = a.model.state_dict(), b.model.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def noisy(images, generator):
    return images + 0.05 * torch.randn(images.shape, generator=generator, device=generator.device)


def test_it_learns_and_predicts():
    t = training()
    losses = t.run(15)
    assert t.epoch == len(losses) == 15 and losses[-1] < 0.3 * losses[0]
    images, labels = data()
    logits = t.predict(images)
    assert logits.shape == (104, 4) and logits.dtype == torch.float32
    assert (logits.argmax(1) == labels).float().mean() > 0.9
    assert torch.equal(t.predict(images[:1]).argmax(1), logits[:1].argmax(1))  # evaluation does not depend on the batch
    assert t.run(15) == []


def test_the_loop_is_plain_minibatch_training():
    """The same network, batches and masks trained by an ordinary NCHW loop with an unfused optimizer."""
    t = training(Recipe(batch_size=32, learning_rate=0.003, weight_decay=0.01))
    own = generators(0, torch.device("cpu"))
    model = build(own["init"])
    next(m for m in model if isinstance(m, layers.Dropout)).generator = own["layers"]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003, weight_decay=0.01, fused=False, foreach=False)
    images, labels = data()
    expected = []
    for _ in range(3):
        total = 0.0
        for rows in torch.randperm(len(labels), generator=own["order"]).split(32):
            loss = F.cross_entropy(model(images[rows].float() / 255), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        expected.append(total / len(labels))
    assert t.run(3) == pytest.approx(expected, rel=2e-3)


def test_gradients_that_an_interrupt_left_off_are_on_in_a_training():
    expected = training().run(1)
    with torch.no_grad():
        assert training().run(1) == expected


@pytest.mark.parametrize("recipe", [RECIPE, Recipe(32, 0.5, "adadelta"), Recipe(32, 0.01, "sgd", momentum=0.9)])
def test_continuation_is_bit_for_bit_the_uninterrupted_run(tmp_path, recipe):
    whole = training(recipe, augment=noisy)
    losses = whole.run(12)
    parts = []
    for epochs in (3, 6, 12):
        t = training(recipe, augment=noisy)
        if epochs > 3:
            t.restore(tmp_path / "checkpoint.pt")
        parts += t.run(epochs)
        t.save(tmp_path / "checkpoint.pt")
    assert parts == losses and same_state(t, whole)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_weights_only_continuation_restarts_the_optimizer_alone(tmp_path):
    first = training()
    first.run(3)
    first.save(tmp_path / "a.pt")
    fresh = training()
    fresh.restore(tmp_path / "a.pt", weights_only_continuation=True)
    assert same_state(first, fresh) and fresh.epoch == 3 and not fresh.optimizer.state
    first.optimizer.state.clear()
    assert fresh.run(5) == first.run(5)


@pytest.mark.parametrize("augment", [None, noisy])
def test_a_seed_fixes_the_run_whatever_the_global_generator_holds(augment):
    runs = []
    for state in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(state)
            before = torch.get_rng_state()
            t = training(augment=augment)
            runs.append((t.run(3), t.predict(data()[0])))
            assert torch.equal(before, torch.get_rng_state())
    assert runs[0][0] == runs[1][0] and torch.equal(runs[0][1], runs[1][1])
    assert training(seed=1, augment=augment).run(3) != runs[0][0]


def test_augmentation_sees_float_batches_and_what_it_returns_is_trained_on():
    shapes = []

    def blank(images, generator):
        assert images.dtype == torch.float32 and 0 <= images.min() and images.max() <= 1
        shapes.append(tuple(images.shape))
        return torch.zeros_like(images)

    t = training(augment=blank)
    losses = t.run(4)
    assert shapes[:4] == [(32, 3, 8, 8)] * 3 + [(8, 3, 8, 8)]  # the incomplete last batch is kept
    assert min(losses) > 0.9 * math.log(4)  # nothing to learn from


def test_the_deadline_stops_between_epochs():
    t = training()
    assert t.run(50, deadline=0) == [] and t.epoch == 0
    seen = []

    def on_epoch(epoch, loss):
        seen.append((epoch, loss))
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        t.run(50, deadline=math.inf, on_epoch=on_epoch)
    assert [epoch for epoch, _ in seen] == [1, 2] and t.epoch == 2


def test_a_loss_that_is_not_finite_is_reported_with_its_epoch():
    t = training()
    t.run(2)
    with torch.no_grad():
        next(t.model.parameters()).fill_(math.nan)
    with pytest.raises(Diverged, match="epoch 3"):
        t.run(5)
    assert t.epoch == 2


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adadelta", "sgd"])
@pytest.mark.parametrize("weight_decay", [None, 0.02])
def test_recipes_choose_torchs_optimizers(optimizer, weight_decay):
    t = training(Recipe(32, 0.02, optimizer, weight_decay=weight_decay, momentum=0.9 * (optimizer == "sgd")))
    kind = {"adam": "Adam", "adamw": "AdamW", "adadelta": "Adadelta", "sgd": "SGD"}[optimizer]
    assert type(t.optimizer).__name__ == kind and t.optimizer.defaults["lr"] == 0.02
    default = getattr(torch.optim, kind)([nn.Parameter(torch.zeros(1))]).defaults["weight_decay"]
    assert t.optimizer.defaults["weight_decay"] == (default if weight_decay is None else weight_decay)
    losses = t.run(4)
    assert losses[-1] < losses[0]


def test_the_squared_error_is_that_of_one_hot_labels():
    images, labels = data(32)
    t = Training(
        lambda g: nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), images, labels, Recipe(32, 1e-9, loss="mse"), seed=0
    )
    expected = ((t.predict(images) - torch.eye(4)[labels]) ** 2).mean().item()
    assert t.run(1) == pytest.approx([expected], rel=1e-5)


REFUSED = {"optimizer": ("lion", "'lion'"), "loss": ("hinge", "'hinge'"), "batch_size": (0, "batch_size: 0")}
REFUSED |= {"momentum": (0.9, "momentum 0.9 is for sgd")}


@pytest.mark.parametrize(("name", "value", "message"), [(name, *rest) for name, rest in REFUSED.items()])
def test_recipes_refuse_what_they_do_not_know(name, value, message):
    with pytest.raises(UserError, match=message):
        Recipe(**{"batch_size": 32, "learning_rate": 0.1} | {name: value})


def test_checkpoints_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    training().save(path)
    other = training(build=lambda g: flower_cnn.build(CONFIGURATION | {"n_channels_conv_0": 9}, classes=4, generator=g))
    with pytest.raises(UserError, match="holds the state of something else"):
        other.restore(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="not a readable checkpoint"):
        training().restore(path)


def test_a_failed_save_leaves_the_checkpoint_as_it_was(tmp_path, monkeypatch):
    t = training()
    t.save(tmp_path / "a.pt")

    def torn(part, content):
        part.open("wb").write(b"half")
        raise OSError(28, "disk full")

    monkeypatch.setattr(Path, "write_bytes", torn)
    with pytest.raises(UserError, match="disk full"):
        t.save(tmp_path / "a.pt")
    training().restore(tmp_path / "a.pt")


@pytest.mark.parametrize("continued", [False, True])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adadelta", "sgd"])
def test_the_warm_up_before_a_capture_leaves_no_trace(optimizer, continued, tmp_path, monkeypatch):
    """Everything up to the capture itself, which only CUDA can do, on the CPU."""
    recipe = Recipe(32, 0.003, optimizer, momentum=0.9 * (optimizer == "sgd"))
    plain, warmed = training(recipe), training(recipe)
    if continued:
        plain.run(2)
        plain.save(tmp_path / "a.pt")
        warmed.restore(tmp_path / "a.pt")
    for name in ("device", "stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, contextlib.nullcontext)
    for name in ("Stream", "current_stream", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, lambda: Mock())
    steps = []
    step = warmed.step
    monkeypatch.setattr(
        warmed, "step", lambda *batch: len(steps) < 3 and steps.append(step(*batch))
    )  # the 4th captures
    warmed.model.train()
    _GraphedStep(warmed)
    monkeypatch.undo()
    assert len(steps) == 3 and same_state(plain, warmed)
    assert warmed.run(5) == plain.run(5)


@needs_cuda
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adadelta", "sgd"])
def test_graphed_and_eager_training_agree_on_cuda(optimizer, tmp_path):
    recipe = Recipe(32, 0.003, optimizer, momentum=0.9 * (optimizer == "sgd"))
    options = {"device": "cuda", "bf16": False, "augment": noisy}
    eager, graphed = (training(recipe, graph=graph, **options) for graph in (False, True))
    expected = eager.run(8)
    assert graphed.run(4) == pytest.approx(expected[:4], rel=1e-2)
    graphed.save(tmp_path / "a.pt")
    restored = training(recipe, **options)
    restored.restore(tmp_path / "a.pt")
    assert restored.run(8) == pytest.approx(expected[4:], rel=2e-2)
    assert graphed._graphed_step is not None and eager._graphed_step is None


@needs_cuda
def test_bfloat16_training_learns_on_cuda():
    losses = training(device="cuda").run(15)
    assert losses[-1] < 0.3 * losses[0]


def test_a_single_image_left_over_is_left_out_where_a_layer_normalises_by_the_batch():
    def normalised(generator):
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))

    images, labels = data(n=97)
    with_norm = Training(normalised, images, labels, RECIPE, seed=0)
    assert [len(rows) for rows in with_norm.batches(torch.arange(97))] == [32, 32, 32]
    assert math.isfinite(with_norm.run(1)[0])
    plain = Training(build, images, labels, RECIPE, seed=0)
    assert [len(rows) for rows in plain.batches(torch.arange(97))] == [32, 32, 32, 1]


def test_a_single_image_left_over_is_predicted_with_the_batch_before_where_that_normalises():
    def normalised(generator):
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4, track_running_stats=False))

    images, labels = data(n=97)
    model = Training(normalised, images, labels, RECIPE, seed=0, evaluation_batch=32)
    assert torch.equal(model.predict(images)[:64], model.predict(images[:64]))
    assert torch.equal(model.predict(images)[64:], model.predict(images[64 : 96 + 1]))
