import pytest
import torch
from torch.nn import functional as F

from benchmarks.supernet import OrdinarySupernet
from jahslib.errors import UserError
from jahslib.models.darts.cell import KERNELS, OPERATIONS, Architecture, Network
from jahslib.models.darts.supernet import Supernet

CELL = ("conv", "identity", "resnet", "bottleneck", "identity", "zero")
OTHER = ("bottleneck", "zero", "identity", "conv", "resnet", "conv")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def supernet(dtype=torch.float64, seed=0, **options):
    # grows, stays and shrinks: every way to compose the convolutions
    options = {"out_channels": (8, 8, 4), "pooling": (True, False, True)} | options
    return Supernet(size=8, fc=(6,), generator=generator(seed), **options).to(dtype)


def discretised(net, cells):
    """The network of these cells, one per supernet cell, with the supernet's weights."""
    network = Network(Architecture(tuple(cells), **net.shape), net.channels, net.classes, generator())
    network.to(next(net.parameters())).train(net.training)
    for i, names in enumerate(cells):
        for n, name in zip(KERNELS, names, strict=True):
            ours = net.cells.get_submodule(f"{i}.nodes.{n}.ops.{name}")
            network.cells.get_submodule(f"{i}.nodes.{n}.op").load_state_dict(ours.state_dict())
    network.head.load_state_dict(net.head.state_dict())
    return network


def images(n=6, size=8, dtype=torch.float64):
    return torch.rand(n, 3, size, size, generator=generator(1), dtype=torch.float64).to(dtype)


def mixture(dtype=torch.float64):
    return torch.randn(6, 5, generator=generator(2), dtype=torch.float64).softmax(1).to(dtype)


@pytest.mark.parametrize("surrogate", ["convex", "additive"])
@pytest.mark.parametrize("s", [0.0, 0.3])
def test_outputs_and_gradients_are_those_of_the_ordinary_mixed_operation(surrogate, s):
    ours = supernet(surrogate=surrogate)
    ordinary = OrdinarySupernet(ours)
    labels = torch.arange(6) % 5
    results = []
    for net in (ours, ordinary):
        weights = mixture().requires_grad_()
        logits = net(images(), weights, s)
        F.cross_entropy(logits, labels).backward()
        gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in net.named_parameters()}
        assert gradients["cells.0.nodes.2.skip.project.weight"].any() == (s > 0)
        results.append({"logits": logits, "weights": weights.grad, **gradients})
    torch.testing.assert_close(*results, atol=1e-10, rtol=1e-7)
    for net in (ours, ordinary):  # the running statistics, too
        net.eval()
    torch.testing.assert_close(ours(images(), mixture(), s), ordinary(images(), mixture(), s), atol=1e-10, rtol=1e-7)


@pytest.mark.parametrize("channels", [(16, 32, 64), (8, 8, 8)])
def test_single_precision_outputs_agree_within_1e_5(channels):
    ours = Supernet(out_channels=channels, generator=generator()).to(memory_format=torch.channels_last)
    batch, weights = images(8, 28, torch.float32), mixture(torch.float32)
    theirs = OrdinarySupernet(ours)(batch, weights, 0.3)
    assert (ours(batch, weights, 0.3) - theirs).abs().max() < 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("cell", [CELL, OTHER, *((name,) * 6 for name in OPERATIONS)])
def test_one_hot_weights_give_the_discretised_network(cell):
    ours = supernet()
    one_hot = torch.tensor([[float(name == o) for o in OPERATIONS] for name in cell], dtype=torch.float64)
    for training in (True, False):
        network = discretised(ours.train(training), (cell,) * 3)
        assert network.training == training
        torch.testing.assert_close(ours(images(), one_hot, 0.0), network(images()))


def test_each_cell_of_a_discretised_network_has_its_own_operations():
    ours = supernet().eval()
    network = discretised(ours, (CELL, OTHER, CELL))
    x = network.cells[0](images())
    torch.testing.assert_close(x, discretised(ours, (CELL,) * 3).cells[0](images()))
    torch.testing.assert_close(network.cells[1](x), discretised(ours, (OTHER,) * 3).cells[1](x))


def test_the_surrogate_paths_alone_remain_where_the_mixture_has_no_weight():
    ours = supernet()
    alone = ours(images(), torch.zeros(6, 5, dtype=torch.float64), 1.0)
    changed = torch.nn.utils.parameters_to_vector(p for n, p in ours.named_parameters() if ".ops." in n)
    torch.nn.utils.vector_to_parameters(2 * changed, [p for n, p in ours.named_parameters() if ".ops." in n])
    torch.testing.assert_close(ours(images(), mixture(), 1.0), alone)  # convex: (1 - s) is 0


def test_weights_come_from_the_generator_alone():
    with torch.random.fork_rng():
        before = torch.get_rng_state()
        a, b, c = supernet(seed=3), supernet(seed=3), supernet(seed=4)
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(a(images(), mixture()), b(images(), mixture()))
    assert not torch.allclose(a(images(), mixture()), c(images(), mixture()))


def test_mistakes_are_refused():
    with pytest.raises(UserError, match="'concave'"):
        supernet(surrogate="concave")
    with pytest.raises(UserError, match="4 poolings halve 8-pixel"):
        supernet(out_channels=(8,) * 4, pooling=(True,) * 4)
    with pytest.raises(UserError, match="3 channels and 2 poolings"):
        supernet(pooling=(True,) * 2)
