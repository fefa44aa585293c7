import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jahslib.data import registry
from jahslib.errors import UserError
from jahslib.models.growing.convnet import GrowingConvNet
from jahslib.training.trainer import Recipe, Training, generators


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(conv=(3, 4), fc=(5, 6), batch_norm="running", seed=0, **options):
    """For 1 x 12 x 12 images, with running statistics that are not the initial ones."""
    net = GrowingConvNet(conv, fc, **{"size": 12, "generator": generator(seed), "batch_norm": batch_norm} | options)
    with torch.no_grad():
        for _ in range(3):
            net(images(batch=32))
    return net


def images(batch=16, size=12, seed=7):
    return torch.randn(batch, 1, size, size, generator=generator(seed))


def widen(net, i, count=3, seed=5):
    g, present = generator(seed), net.blocks[i].layer.weight
    weight = torch.randn(count, *present.shape[1:], generator=g, dtype=present.dtype)
    bias, mean = torch.randn(2, count, generator=g, dtype=present.dtype)
    net.add_neurons(i, weight, bias, mean, torch.rand(count, generator=g, dtype=present.dtype) + 0.5)


class TestSizes:
    @pytest.mark.parametrize(("widths", "count"), [((16, 32, 64), 29_066), ((8, 8, 8), 1_978)])
    def test_the_published_counts(self, widths, count):
        net = GrowingConvNet(widths, generator=generator())
        assert net.count_parameters() == count == sum(net.layer_parameters())
        assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)

    def test_counts_stay_exact_through_growth(self):
        net = network(batch_norm="none")
        for i in (3, 1, 0, 2, 1):
            widen(net, i)
            assert net.count_parameters() == sum(p.numel() for p in net.parameters())
        assert net.widths == [6, 10, 8, 9] and net.n_conv == 2

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"conv": ()}, "give convolutions"),
            ({"conv": (8, 0)}, "at least 1"),
            ({"fc": (8, 0)}, "at least 1"),
            ({"conv": (8,) * 4}, "4 convolutions halve 12-pixel images to nothing"),
        ],
    )
    def test_refuses_what_is_no_network(self, bad, said):
        with pytest.raises(UserError, match=said):
            network(**bad)


class TestGrowth:
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("batch_norm", ["batch", "running", "none"])
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
    @pytest.mark.parametrize("i", [0, 1, 2, 3], ids=["conv-conv", "conv-linear", "linear-linear", "linear-classifier"])
    def test_leaves_the_function_unchanged(self, i, dtype, tolerance, batch_norm, training):
        net = network(batch_norm=batch_norm).to(dtype).train(training)
        x = images().to(dtype)
        with torch.no_grad():
            before = copy.deepcopy(net)(x)
            widen(net, i)
            after = net(x)
        assert before.std() > 0.01
        torch.testing.assert_close(after, before, rtol=0, atol=tolerance)

    def test_new_neurons_are_alive_and_trained(self):
        net = network()
        old = net.widths
        optimizer = torch.optim.Adam(net.parameters(), 0.01)
        for i in range(4):
            widen(net, i)
        net.capturing = True
        x, y = images(), torch.arange(16) % 10
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
        assert all(kept[:, n:].std() > 0 for kept, n in zip(net.captured[1:], old, strict=True))
        assert net.classifier.weight[:, 6:].any() and net.blocks[2].layer.weight[:5, 4 * 9 :].any()

    def test_a_flattened_neuron_brings_one_input_a_pixel(self):
        net = network()
        widen(net, 1, count=2)
        assert net.blocks[2].layer.in_features == 6 * 9

    @pytest.mark.parametrize("batch_norm", ["batch", "running", "none"])
    def test_a_grown_network_is_the_static_one_of_its_size(self, batch_norm):
        net = network(batch_norm=batch_norm)
        for i in range(4):
            widen(net, i, count=i + 1)
        static = net.static()
        kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.BatchNorm1d, nn.ReLU, nn.MaxPool2d, nn.Flatten)
        assert all(type(layer) in kinds for layer in static)
        assert sum(p.numel() for p in static.parameters()) == sum(p.numel() for p in net.parameters())
        for training in (True, False):
            assert torch.equal(net.train(training)(images()), static.train(training)(images()))
        with torch.no_grad():
            static[0].weight.zero_()
        assert net.blocks[0].layer.weight.any(), "the static network shares its weights"

    def test_without_fully_connected_layers_too(self):
        net = network(fc=())
        before = net.eval()(images())
        for i in (1, 0):
            widen(net, i)
        torch.testing.assert_close(net(images()), before, rtol=0, atol=1e-6)
        assert torch.equal(net(images()), net.static()(images()))


class TestSimulation:
    @pytest.mark.parametrize("batch_norm", ["batch", "none"])
    @pytest.mark.parametrize("i", range(4))
    def test_the_present_weights_give_the_forward_pass(self, i, batch_norm):
        net = network(batch_norm=batch_norm)
        net.capturing = True
        net(images())
        block, x, output = net.blocks[i], net.captured[i], net.captured[i + 1]
        x = x if block.is_conv else x.flatten(1)
        simulated = block.simulate(x, block.layer.weight, block.layer.bias)
        mean, var = block.statistics(x, block.layer.weight, block.layer.bias)
        torch.testing.assert_close(simulated, output, rtol=1e-5, atol=1e-6)
        before = F.relu(block.layer(x)).transpose(0, 1).flatten(1)
        torch.testing.assert_close(mean, before.mean(1))
        torch.testing.assert_close(var, before.var(1))

    def test_running_statistics_of_new_neurons_start_where_a_pass_would_bring_them(self):
        net = network(conv=(3,), fc=())
        net.capturing = True
        x = images()
        net(x)
        block = net.blocks[0]
        mean, var = block.statistics(x, block.layer.weight, block.layer.bias)
        net.add_neurons(0, block.layer.weight.detach(), block.layer.bias.detach(), mean.detach(), var.detach())
        block.norm.momentum = 1.0
        net(x)
        torch.testing.assert_close(block.norm.running_mean[:3], block.norm.running_mean[3:])
        torch.testing.assert_close(mean, block.norm.running_mean[3:])
        torch.testing.assert_close(var, block.norm.running_var[3:])


class TestCapture:
    def test_keeps_the_blocks_inputs_and_outputs_of_training_only(self):
        net = network()
        assert net.captured == []
        net.capturing = True
        net.eval()(images())
        assert net.captured == []
        net.train()(images())
        shapes = [(16, 1, 12, 12), (16, 3, 6, 6), (16, 4, 3, 3), (16, 5), (16, 6)]
        assert [tuple(kept.shape) for kept in net.captured] == shapes
        assert not any(kept.requires_grad for kept in net.captured)


def ordinary(seed):
    """Torch's own layers under their own initialisation, whose random numbers are those of `Training`'s generator."""

    def block(inputs, outputs):
        norm = nn.BatchNorm2d(outputs, track_running_stats=False)
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), norm, nn.MaxPool2d(2)]

    with torch.random.fork_rng():
        torch.set_rng_state(generators(seed, torch.device("cpu"))["init"].get_state())
        return nn.Sequential(*block(1, 6), *block(6, 8), nn.Flatten(), nn.Linear(8 * 49, 10))


class TestTraining:
    """On 800 images of mnist5k."""

    def test_growable_at_its_largest_size_is_an_ordinary_network(self):
        """The same seed, one epoch: the same accuracy, and the same weights up to rounding."""
        loaded = registry.load("mnist5k")
        x, y = loaded.images[::5][:800], loaded.labels[::5][:800]
        growing = Training(lambda g: GrowingConvNet((6, 8), generator=g), x, y, Recipe(100, 0.01), seed=0)

        model = ordinary(0).to(memory_format=torch.channels_last)
        start = zip(growing.model.parameters(), (p for p in model.parameters()), strict=True)
        assert all(torch.equal(a, b) for a, b in start)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        order = torch.randperm(800, generator=generators(0, torch.device("cpu"))["order"])
        total = 0.0
        for rows in order.split(100):
            loss = F.cross_entropy(model(x[rows].contiguous(memory_format=torch.channels_last) / 255), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() / 8
        assert growing.run(1) == pytest.approx([total], rel=1e-4)
        ours = growing.predict(x)
        growing.evaluation_batch = 800
        with torch.no_grad():
            theirs = model.eval()(x.float() / 255)
        torch.testing.assert_close(growing.predict(x), theirs, rtol=0, atol=0.01)
        accuracy = (theirs.argmax(1) == y).float().mean()
        assert accuracy > 0.7
        assert (growing.predict(x).argmax(1) == theirs.argmax(1)).float().mean() > 0.99
        assert not torch.equal(ours, theirs), "batch statistics depend on the batch"
