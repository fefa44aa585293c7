import numpy as np
import pytest
import torch
from ConfigSpace import Configuration
from torch import nn

from jahslib.errors import UserError
from jahslib.models import flower_cnn, layers


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sampled(n, seed=0):
    space = flower_cnn.space()
    space.seed(seed)
    return space.sample_configuration(n)


@pytest.mark.parametrize(("configuration", "count"), [(flower_cnn.DEFAULT, 6_360_741), (flower_cnn.ROW_1, 1_012_899)])
def test_the_published_networks_have_their_published_sizes_and_lie_in_the_space(configuration, count):
    assert flower_cnn.count_parameters(configuration) == count
    assert sum(p.numel() for p in flower_cnn.build(configuration).parameters()) == count
    legal = dict(Configuration(flower_cnn.space(), values=configuration))  # raises for what the space does not allow
    assert legal == pytest.approx(configuration)


def test_counting_agrees_with_building_and_draws_no_random_number():
    space = flower_cnn.space(channels=(16, 40))
    space.seed(1)
    before = torch.get_rng_state()
    for configuration in space.sample_configuration(20):
        model = flower_cnn.build(configuration, channels=1, classes=10, size=28, generator=generator())
        count = flower_cnn.count_parameters(configuration, channels=1, classes=10, size=28)
        assert count == sum(p.numel() for p in model.parameters())
        assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert torch.equal(before, torch.get_rng_state())


def test_layers_stand_in_the_originals_order():
    names = [type(layer).__name__.lstrip("_") for layer in flower_cnn.build(flower_cnn.ROW_1)]
    block = ["Conv2d", "ReLU", "BatchNorm2d", "MaxPool2d"]
    assert names == [*block, *block, "AdaptiveAvgPool2d", "Flatten", "Linear", "ReLU", "Dropout", "Linear"]


def test_missing_keys_take_the_originals_fallbacks():
    layers = list(flower_cnn.build({"n_channels_conv_0": 20}))
    assert [layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d)] == [20, 40, 80]
    assert [layer.out_features for layer in layers if isinstance(layer, nn.Linear)] == [256, 17, 273, 17]
    layers = list(flower_cnn.build({"n_fc_layers": 2, "n_conv_layers": 1}))
    assert [layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d)] == [16]
    assert [layer.out_features for layer in layers if isinstance(layer, nn.Linear)] == [256, 128, 17]


def test_weights_are_torchs_default_initialisation_drawn_from_the_generator():
    model = flower_cnn.build(flower_cnn.ROW_1, generator=generator(7))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        default = [nn.Conv2d(3, 351, 5), nn.Conv2d(351, 109, 5), nn.Linear(109, 226), nn.Linear(226, 17)]
    expected = [p for layer in default for p in layer.parameters()]
    ours = [p for layer in model if isinstance(layer, nn.Conv2d | nn.Linear) for p in layer.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))
    bn = next(layer for layer in model if isinstance(layer, nn.BatchNorm2d))
    assert (bn.weight == 1).all() and (bn.bias == 0).all() and (bn.running_var == 1).all()


def test_the_global_generator_is_neither_used_nor_moved():
    outputs = []
    for state in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(state)
            before = torch.get_rng_state()
            model = flower_cnn.build(flower_cnn.DEFAULT | {"n_channels_conv_1": 16}, generator=generator()).train()
            outputs.append(model(torch.ones(4, 3, 16, 16)))
            assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(*outputs)


def test_dropout_keeps_the_mean_and_is_off_in_evaluation():
    dropout = layers.Dropout(0.3, generator())
    x = torch.ones(200, 200)
    kept = dropout(x)
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert kept.mean().item() == pytest.approx(1.0, abs=0.02)
    assert not torch.equal(kept, dropout(x))
    assert torch.equal(dropout.eval()(x), x)


def test_space_is_that_of_the_study():
    space = flower_cnn.space()
    assert len(space) == 14
    assert space["learning_rate_init"].log and (space["learning_rate_init"].lower, space["batch_size"].upper) == (
        1e-5,
        300,
    )
    default = dict(space.get_default_configuration())
    assert (default["n_conv_layers"], default["n_channels_conv_2"], default["n_channels_fc_2"]) == (3, 512, 256)
    assert (default["batch_size"], default["kernel_size"], default["use_BN"]) == (16, 3, True)
    for configuration in sampled(60):
        for layer in ("conv", "fc"):
            widths = [i for i in range(3) if f"n_channels_{layer}_{i}" in configuration]
            assert widths == list(range(configuration[f"n_{layer}_layers"]))


def test_overrides_narrow_the_space():
    space = flower_cnn.space(channels=(8, 64), batch_size=(213, 300), kernel_size=(3, 5), n_conv_layers=(1, 2))
    space.seed(0)
    for configuration in space.sample_configuration(60):
        assert all(8 <= configuration.get(f"n_channels_conv_{i}", 8) <= 64 for i in range(3))
        assert configuration["n_conv_layers"] <= 2 and "n_channels_conv_2" not in configuration
        assert configuration["batch_size"] >= 213 and configuration["kernel_size"] != 7
    assert dict(flower_cnn.space(n_fc_layers=(1, 1)).get_default_configuration())["n_fc_layers"] == 1
    with pytest.raises(UserError, match="'chanels'"):
        flower_cnn.space(chanels=(8, 64))


def test_an_image_too_small_for_the_poolings_is_refused():
    with pytest.raises(UserError, match="n_conv_layers=3"):
        flower_cnn.build(flower_cnn.DEFAULT, size=7)


def test_sampled_configurations_build_with_numpy_values():
    for configuration in sampled(40, seed=3):
        numpy_values = {name: np.asarray(value)[()] for name, value in configuration.items()}
        assert flower_cnn.count_parameters(numpy_values) == flower_cnn.count_parameters(configuration)
