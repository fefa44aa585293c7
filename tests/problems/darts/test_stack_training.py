"""Training of stacks: schedules, losses, and what a configuration says."""

import json

import numpy as np
import pytest
import torch

from jahslib.core.problem import Job
from jahslib.errors import UserError
from jahslib.problems.darts.stack_training import StackTraining, load_stack, save_stack
from jahslib.training import checkpoints

# A network that trains in no time, whatever the images.
PLAIN = {
    "n_cells": 1,
    "cell_1": "identity-zero-zero-zero-zero-zero",
    "out_channels_1": 4,
    "use_max_pooling_1": True,
    "n_fc_layers": 1,
    "n_out_features_fc_1": 4,
    "dropout": 0.1,
    "use_surrogate": False,
    "batch_size": 32,
    "loss_class_weight_smoothing": 0.8,
    "focal_loss_gamma": 3.0,
    "optimizer": "sgd",
    "momentum": 0.9,
    "nesterov": True,
    "lr_scheduler": "none",
    "lr_wo_schedule": 0.1,
    "use_weight_decay": False,
}


def images(n, size=28, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (n, 3, size, size)
    return torch.randint(0, 255, shape, generator=generator, dtype=torch.uint8), torch.arange(n) % classes


def stack(n=40, epochs=3, size=28, **changes):
    job = Job({**PLAIN, **changes}, (epochs,), seed=1)
    shape = {"channels": 3, "classes": 5, "size": size}
    return StackTraining(job, images(n, size), shape, augment=True, device="cpu")


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("scheduler", ["none", "OneCycleLR"])
def test_every_optimizer_and_schedule_learns(optimizer, scheduler):
    own = {"beta1": 0.9, "beta2": 0.99, "amsgrad": True} if optimizer != "sgd" else {}
    training = stack(
        size=8,
        epochs=8,
        optimizer=optimizer,
        lr_scheduler=scheduler,
        lr_w_schedule=0.05,
        lr_wo_schedule=0.02,
        **own,
    )
    losses = training.run(8)
    assert losses[-1] < losses[0]


def test_the_rate_follows_one_cycle_over_all_steps_and_momentum_stays():
    training = stack(size=8, epochs=4, lr_scheduler="OneCycleLR", lr_w_schedule=0.1, batch_size=10)
    group = training.optimizer.param_groups[0]
    rates, step = [group["lr"]], training.step
    training.step = lambda *batch: (step(*batch), rates.append(group["lr"]))[0]
    training.run(4)
    used = rates[:-1]  # what follows the last step is for a step that never comes
    assert len(used) == 16 and max(used) == pytest.approx(0.1, rel=0.05)
    assert used[0] == pytest.approx(0.1 / 25) and used[-1] < 1e-4 and np.argmax(used) in (3, 4)
    assert group["momentum"] == 0.9


def test_the_surrogate_fades_to_nothing():
    training = stack(size=8, epochs=4, use_surrogate=True)
    seen = []
    training.run(4, on_epoch=lambda epoch, loss: seen.append(training.model.surrogate.item()))
    assert seen == [pytest.approx(s) for s in (0.375, 0.25, 0.125, 0.0)]


def test_a_single_image_left_over_does_not_stop_a_network_pooled_to_one_pixel():
    deep = {"n_cells": 4} | {f"cell_{i}": "conv-zero-zero-zero-zero-zero" for i in range(1, 5)}
    deep |= {f"out_channels_{i}": 4 for i in range(1, 5)} | {f"use_max_pooling_{i}": True for i in range(1, 5)}
    deep |= {"n_cells": 5, "cell_5": "conv-zero-zero-zero-zero-zero", "out_channels_5": 4}
    training = stack(n=17, epochs=1, batch_size=8, **deep)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        training.model(torch.zeros(1, 3, 28, 28))
    assert [len(rows) for rows in training.batches(torch.arange(17))] == [8, 8]
    assert np.isfinite(training.run(1)).all()


def test_the_loss_weighs_rare_classes():
    job = Job({**PLAIN, "loss_class_weight_smoothing": 1.0}, (1,), seed=0)
    pixels, _ = images(40, 8)
    labels = torch.tensor([0] * 30 + [1] * 10)
    shape = {"channels": 3, "classes": 5, "size": 8}
    training = StackTraining(job, (pixels, labels), shape, augment=False, device="cpu")
    weights = training._class_weights
    assert weights[1] / weights[0] == pytest.approx(3.0) and weights[2:].tolist() == [0, 0, 0]


def test_a_network_that_is_kept_predicts_what_was_trained(tmp_path):
    training = stack(epochs=2, use_surrogate=True, dropout=0.5)
    training.run(2)
    job = Job({**PLAIN, "use_surrogate": True, "dropout": 0.5}, (2,), seed=1)
    shape = {"channels": 3, "classes": 5, "size": 28}
    path = save_stack(tmp_path, training, job, shape, {"top1": 0.5})
    torch.load(path, weights_only=True)  # by torch alone as well
    x, _ = images(40)
    with torch.inference_mode():
        torch.testing.assert_close(load_stack(path)(x.float() / 255), training.predict(x))
    assert json.loads(path.with_suffix(".json").read_text())["metrics"] == {"top1": 0.5}


def test_what_is_no_such_network_is_refused(tmp_path):
    other = tmp_path / "other.pt"
    checkpoints.write(other, torch.device("cpu"), {}, model={})
    with pytest.raises(UserError, match=r"other\.pt holds the state of something else: give a file that a final"):
        load_stack(other)
    with pytest.raises(UserError, match=r"none\.pt is not a readable checkpoint"):
        load_stack(tmp_path / "none.pt")
