import pytest
import torch
from torch import nn

from jahslib.errors import UserError
from jahslib.models import image_nets, layers


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("classes", "count"), [(100, 20_713_380), (10, 20_344_650)])
def test_the_alexnet_has_the_originals_size(classes, count):
    assert image_nets.count_parameters("alexnet", channels=3, classes=classes, size=32) == count


def test_images_shrink_through_the_alexnet_as_in_the_original():
    """32 -> 26 -> 12 -> 5 -> 2 pixels, then pooled to one."""
    net = image_nets.build("alexnet", channels=3, classes=10, size=32, generator=generator())[1]
    sizes, x = [], torch.zeros(1, 3, 32, 32)
    for layer in net.features:
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            sizes.append(x.shape[-1])
    assert [sizes[i] for i in (0, 1, 3, -1)] == [26, 12, 5, 2]
    assert net.avgpool(x).shape == (1, 256, 1, 1)


@pytest.mark.parametrize(("network", "count"), [("lenet", 61_706), ("lenet300", 266_610)])
def test_the_lenets_have_their_papers_sizes(network, count):
    assert image_nets.count_parameters(network, channels=1, classes=10, size=28) == count


def test_the_resnet_is_torchvisions_but_for_its_stem():
    """7 x 7 x 3 x 64 weights become 3 x 3 x 3 x 64."""
    from torchvision.models import resnet18

    with torch.device("meta"):
        theirs = sum(p.numel() for p in resnet18(num_classes=10).parameters())
    ours = image_nets.count_parameters("resnet18", channels=3, classes=10, size=32)
    assert ours == theirs - (49 - 9) * 3 * 64


@pytest.mark.parametrize("network", ["lenet", "lenet300", "resnet18"])
@pytest.mark.parametrize("channels", [1, 3])
def test_built_networks_have_the_counted_size_and_draw_from_the_given_generator_alone(network, channels):
    shape = {"channels": channels, "classes": 7, "size": 14}
    before = torch.get_rng_state()
    one, same, other = (image_nets.build(network, **shape, generator=generator(s)) for s in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state()), "the global generator was used"
    assert sum(p.numel() for p in one.parameters()) == image_nets.count_parameters(network, **shape)
    states = [net.state_dict() for net in (one, same, other)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert any(not torch.equal(states[0][k], states[2][k]) for k in states[0])
    logits = one.eval()(torch.rand(2, channels, 14, 14, generator=generator()))
    assert logits.shape == (2, 7) and logits.isfinite().all()


def test_the_alexnet_is_initialised_as_torch_does_and_drops_by_the_given_generator():
    net = image_nets.build("alexnet", channels=1, classes=10, size=21, generator=generator(7))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        first = nn.Conv2d(1, 64, 11)
    assert torch.equal(net.features[0].weight, first.weight) and torch.equal(net.features[0].bias, first.bias)
    dropouts = [m for m in net.modules() if isinstance(m, nn.Dropout | layers.Dropout)]
    assert [(type(m), m.p) for m in dropouts] == [(layers.Dropout, 0.5)] * 2
    x = torch.ones(2, 1, 21, 21)
    before = torch.get_rng_state()
    outputs = []
    for seed in (1, 1, 2):
        for m in dropouts:
            m.generator = generator(seed)
        outputs.append(net.train()(x))
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])
    assert torch.equal(before, torch.get_rng_state())


def test_colour_images_are_standardised_by_imagenets_statistics_and_grey_ones_are_not():
    colour, grey = (image_nets.build("lenet", channels=c, classes=10, size=28) for c in (3, 1))
    images = torch.rand(5, 3, 28, 28, generator=generator())
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = ((images.permute(0, 2, 3, 1) - mean) / std).permute(0, 3, 1, 2)
    torch.testing.assert_close(colour[0](images), expected)
    assert not any(isinstance(m, image_nets.Standardise) for m in grey.modules())
    assert not any("mean" in name for name in colour.state_dict())


def test_refuses_unknown_networks_and_images_too_small():
    with pytest.raises(UserError, match="network: 'vgg' is unknown"):
        image_nets.build("vgg", channels=1, classes=10, size=28)
    for network, least in image_nets.SMALLEST.items():
        net = image_nets.build(network, channels=1, classes=10, size=least, generator=generator())
        assert net(torch.zeros(2, 1, least, least)).shape == (2, 10)
        if least > 1:
            with pytest.raises(UserError, match=f"{network} needs images of at least {least} pixels, these have"):
                image_nets.count_parameters(network, channels=1, classes=10, size=least - 1)
