import pytest
import torch
from torch import nn, optim

from jahslib.errors import UserError
from jahslib.models.layers import Linear, reset_parameters
from jahslib.training.schedules import SCHEDULES, cosine, plateau
from jahslib.training.trainer import Recipe, Training


def factors(schedule, losses):
    """The factor of every epoch."""
    return [schedule(losses[:n]) for n in range(len(losses))]


def falling(n):
    return [1 / (i + 1) for i in range(n)]


def changes(schedule, n=130):
    found = factors(schedule, falling(n))
    return {i: round(b, 12) for i, (a, b) in enumerate(zip([None, *found], found, strict=False)) if a != b}


def test_each_kind_has_the_originals_numbers():
    assert changes(SCHEDULES["constant"]) == {0: 1.0}
    assert changes(SCHEDULES["step"]) == {0: 1.0, 60: 0.1, 120: 0.01}
    assert changes(SCHEDULES["step_restart"], 17) == {0: 1.0, 4: 0.1, 8: 1.0, 12: 0.1, 16: 1.0}
    assert changes(SCHEDULES["multi"]) == {0: 1.0, 10: 0.1}
    assert changes(SCHEDULES["lambda"]) == {0: 1.0, 5: 0.5, 10: 0.1, 15: 0.01}
    assert changes(SCHEDULES["plateau"]) == {0: 1.0}


def test_plateau_does_what_torchs_scheduler_does():
    generator = torch.Generator().manual_seed(0)
    losses = (torch.rand(80, generator=generator) * 0.1 + torch.linspace(1, 0.5, 80).clamp(min=0.7)).tolist()
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs, scheduler = [], optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    for loss in losses:
        theirs.append(optimizer.param_groups[0]["lr"])
        scheduler.step(loss)
    assert factors(plateau, losses) == pytest.approx(theirs) and len(set(theirs)) > 1


def training(schedule="constant", **options):
    def build(generator):
        net = nn.Sequential(nn.Flatten(), Linear(16, 4))
        reset_parameters(net, generator)
        return net

    images = torch.randint(0, 255, (24, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    recipe = Recipe(8, 0.1, "sgd", schedule=schedule, **{"momentum": 0.9, **options})
    return Training(build, images, torch.arange(24) % 4, recipe, seed=0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_training_follows_its_schedule_without_any_validation(schedule):
    """In the original a schedule crashed without validation, and "plateau" always."""
    t, rates = training(schedule), []
    t.run(12, on_epoch=lambda epoch, loss: rates.append(t.optimizer.param_groups[0]["lr"]))
    assert rates == pytest.approx([0.1 * f for f in factors(SCHEDULES[schedule], t.losses)])


@pytest.mark.parametrize("schedule", ["constant", "step_restart", "lambda", "plateau"])
def test_a_continued_training_follows_it_bit_for_bit(schedule, tmp_path):
    whole, first, second = (training(schedule) for _ in range(3))
    whole.run(13)
    first.run(6)
    first.save(tmp_path / "six.pt")
    second.restore(tmp_path / "six.pt")
    second.run(13)
    assert second.losses == whole.losses
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True))


def test_the_default_changes_nothing():
    """Today's recipe and one that says constant and not nesterov train the same bits."""
    plain, said = training(), training("constant", nesterov=False)
    assert plain.run(3) == said.run(3)
    assert training("multi").run(3) == training().run(3), "before its first change a schedule is constant"


def test_nesterov_is_torchs_and_nothing_without_momentum():
    t = training(nesterov=True)
    assert t.optimizer.param_groups[0]["nesterov"]
    assert t.run(3) != training().run(3)
    without = training(nesterov=True, momentum=0.0)
    assert not without.optimizer.param_groups[0]["nesterov"] and without.run(1)


def test_refuses_unknown_schedules_and_nesterov_elsewhere():
    with pytest.raises(UserError, match="schedule 'cosine' is unknown"):
        Recipe(8, 0.1, "sgd", schedule="cosine")
    with pytest.raises(UserError, match="nesterov True is for sgd, not adam"):
        Recipe(8, 0.1, "adam", nesterov=True)


def test_cosine_ends_at_zero_and_stays():
    assert [round(cosine(e, 4), 6) for e in range(6)] == [1.0, 0.853553, 0.5, 0.146447, 0.0, 0.0]


def test_a_training_follows_its_cosine_and_keeps_the_order_of_the_images():
    images, labels = torch.arange(8, dtype=torch.uint8).view(8, 1, 1, 1), torch.zeros(8, dtype=torch.long)

    def build(generator):
        return nn.Sequential(nn.Flatten(), Linear(1, 2))

    recipe = Recipe(4, 0.2, "sgd", annealing_epochs=2, shuffle=False)
    training = Training(build, images, labels, recipe, seed=0)
    reset_parameters(training.model, torch.Generator())
    seen, rates = [], []
    training.step = lambda batch, _: (
        seen.extend((batch.flatten() * 255).round().tolist()),
        rates.append(training.optimizer.param_groups[0]["lr"]),
        torch.zeros(()),
    )[2]
    training.run(2)
    assert seen == [*range(8), *range(8)] and rates == pytest.approx([0.2, 0.2, 0.1, 0.1])
    with pytest.raises(UserError, match="annealing_epochs: 0"):
        Recipe(4, 0.2, annealing_epochs=0)
