import itertools

import pytest
import torch
from torch import nn

from benchmarks import supernet as ordinary
from jahslib.errors import UserError
from jahslib.models.darts.cell import OPERATIONS, Architecture, Cell, build, operation
from jahslib.models.layers import Dropout, count_parameters, reset_parameters

ORDINARY = (ordinary.Identity, ordinary.Zero, ordinary.Conv, ordinary.ResNet, ordinary.Bottleneck)
MIXED = ("conv", "resnet", "bottleneck", "conv", "resnet", "bottleneck")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def ready(module, seed=0):
    reset_parameters(module, generator(seed))
    return module


def images(n=3, channels=3, size=28):
    return torch.rand(n, channels, size, size, generator=generator(9))


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_keeps_the_size_for_every_channel_pair(name):
    for c_in, c_out, kernel in itertools.product((1, 3, 4, 8, 13), (4, 8, 13), (3, 5, 7, 9)):
        op = ready(operation(name, c_in, c_out, kernel))
        for h, w in ((6, 6), (7, 3)):
            assert op(torch.rand(2, c_in, h, w)).shape == (2, c_out, h, w)


@pytest.mark.parametrize(("name", "reference"), list(zip(OPERATIONS, ORDINARY, strict=True)))
@pytest.mark.parametrize("channels", [(3, 8), (8, 8), (8, 4)])
@pytest.mark.parametrize("kernel", [3, 9])
def test_operations_compute_what_plain_layers_compute(name, reference, channels, kernel):
    op = ready(operation(name, *channels, kernel)).double()
    plain = reference(*channels, kernel).double()
    plain.load_state_dict(op.state_dict())
    x = images(channels=channels[0], size=9).double()
    torch.testing.assert_close(op(x), plain(x))
    torch.testing.assert_close(op.eval()(x), plain.eval()(x))  # after one update of the running statistics


def test_operations_have_the_parts_of_the_study():
    def parameters(name, c_in, c_out, kernel):
        return sum(p.numel() for p in operation(name, c_in, c_out, kernel).parameters())

    k, bn = 25, 2 * 16
    assert parameters("identity", 16, 16, 5) == parameters("zero", 3, 16, 5) == 0
    assert parameters("identity", 3, 16, 5) == 3 * 16 + 16
    assert parameters("conv", 3, 16, 5) == (3 * 16 * k + 16 + bn) + (16 * 16 * k + 16 + bn)
    assert parameters("resnet", 16, 16, 5) == (16 * 16 + 16) + 2 * (16 * 16 * k + 16 + bn)
    inner = (16 * 4 + 4 + 8) + (4 * 4 * k + 4 + 8) + (4 * 16 + 16 + bn)
    assert parameters("bottleneck", 16, 16, 5) == (16 * 16 + 16) + inner


def test_identity_with_equal_channels_is_the_input_and_zero_keeps_dtype():
    x = images().double()
    assert operation("identity", 3, 3, 5)(x) is x
    zero = operation("zero", 3, 8, 5)(x)
    assert not zero.any() and zero.dtype == x.dtype


def test_the_cell_sums_nodes_2_3_6_and_7():
    x = images(channels=4)

    def cell(*names):
        return ready(Cell(names, 4, 4, pool=False))(x)

    i, z = "identity", "zero"
    torch.testing.assert_close(cell(i, i, i, i, i, i), 4 * x)
    torch.testing.assert_close(cell(i, z, i, z, i, i), 2 * x)  # node 7 passes on the zeros of node 5
    torch.testing.assert_close(cell(z, z, i, i, z, i), x)
    assert torch.equal(cell(z, z, i, i, z, z), torch.zeros_like(x))
    assert torch.equal(ready(Cell((z,) * 6, 3, 8, pool=True))(images()), torch.zeros(3, 8, 14, 14))


def test_kernels_and_channels_of_the_nodes():
    cell = Cell(("conv",) * 6, 3, 8, pool=True)
    first = [node.op.conv1 for node in cell.nodes.values()]
    assert [c.kernel_size[0] for c in first] == [3, 5, 7, 9, 3, 3]
    assert [c.in_channels for c in first] == [3, 3, 3, 3, 8, 8]


def test_what_ends_in_zero_is_not_computed():
    cell = ready(Cell(("zero", "conv", "conv", "conv", "conv", "zero"), 3, 8, pool=False))
    cell(images()).sum().backward()
    used = {n: any(p.grad is not None for p in node.parameters()) for n, node in cell.nodes.items()}
    assert used == {"2": False, "3": True, "4": True, "5": False, "6": True, "7": False}


@pytest.mark.parametrize("n_cells", range(1, 7))
def test_networks_of_any_number_of_cells(n_cells):
    pooling = tuple(i < 4 for i in range(n_cells))
    architecture = Architecture((MIXED,) * n_cells, (8, 12, 4, 8, 5, 9)[:n_cells], pooling, fc=(16, 8), dropout=0.5)
    network = build(architecture, generator=generator())
    assert network(images()).shape == (3, 5)
    sizes, x = [], images()
    for cell in network.cells:
        x = cell(x)
        sizes.append(x.shape[-1])
    assert sizes == [14, 7, 3, 1, 1, 1][:n_cells]
    assert count_parameters(build, architecture) == sum(p.numel() for p in network.parameters())


def test_the_head_is_pooling_then_hidden_layers_then_the_classifier():
    network = build(Architecture((MIXED,), (8,), (False,), fc=(16, 12), dropout=0.3), channels=1, classes=7)
    kinds = ["AdaptiveAvgPool2d", "Flatten", *("Linear", "ReLU", "Dropout") * 2, "Linear"]
    assert [type(layer).__name__ for layer in network.head] == kinds
    widths = [(layer.in_features, layer.out_features) for layer in network.head if isinstance(layer, nn.Linear)]
    assert widths == [(8, 16), (16, 12), (12, 7)]
    assert network(images(channels=1)).shape == (3, 7)


def test_the_surrogate_mixes_convexly_in_training_and_is_off_in_evaluation():
    with_skip = build(Architecture((MIXED,), (8,), (True,), surrogate=True), generator=generator())
    without = build(Architecture((MIXED,), (8,), (True,)), generator=generator())
    without.load_state_dict(with_skip.state_dict(), strict=False)
    x = images()
    torch.testing.assert_close(with_skip(x), without(x))  # s is 0
    with_skip.surrogate.fill_(0.4)
    node, shared = with_skip.cells[0].nodes["2"], without.cells[0].nodes["2"]
    torch.testing.assert_close(node(x, with_skip.surrogate), 0.6 * shared(x, None) + 0.4 * node.skip(x))
    assert not torch.allclose(with_skip(x), without(x))
    without.load_state_dict(with_skip.state_dict(), strict=False)
    torch.testing.assert_close(with_skip.eval()(x), without.eval()(x))
    with_skip.train().surrogate.fill_(1)
    zeros = build(Architecture((("zero",) * 6,), (8,), (True,), surrogate=True), generator=generator())
    zeros.surrogate.fill_(1)
    zeros.cells.load_state_dict({k: v for k, v in with_skip.cells.state_dict().items() if "skip" in k}, strict=False)
    zeros.head.load_state_dict(with_skip.head.state_dict())
    torch.testing.assert_close(zeros(x), with_skip(x))  # the skip paths are all that is left


def test_weights_and_masks_come_from_the_generator_alone():
    architecture = Architecture((MIXED, MIXED), (8, 8), (True, True), dropout=0.5)
    outputs = []
    for state in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(state)
            before = torch.get_rng_state()
            network = build(architecture, generator=generator(5))
            outputs.append(network(images()))
            assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(*outputs)
    assert not torch.equal(network(images()), outputs[1])  # the masks differ from call to call
    assert any(isinstance(m, Dropout) for m in network.modules())
    assert not torch.equal(next(build(architecture, generator=generator(6)).parameters()), next(network.parameters()))


def test_mistakes_are_refused():
    with pytest.raises(UserError, match="conv-conv"):
        Architecture((("conv", "conv"),), (8,), (True,))
    with pytest.raises(UserError, match=r"'conv-conv-conv-conv-conv-pool'.*bottleneck"):
        Architecture((("conv",) * 5 + ("pool",),), (8,), (True,))
    with pytest.raises(UserError, match="1 cells, 2 channels"):
        Architecture((MIXED,), (8, 8), (True,))
    with pytest.raises(UserError, match="3 channels"):
        Architecture((MIXED,), (3,), (True,))
    with pytest.raises(UserError, match="4 poolings halve 8-pixel"):
        build(Architecture((MIXED,) * 4, (8,) * 4, (True,) * 4), size=8)
