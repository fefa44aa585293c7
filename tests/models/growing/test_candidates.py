import pytest
import torch
from torch.nn import functional as F

from jahslib.models.growing import candidates, ranks
from jahslib.models.growing.candidates import INITIALISATIONS
from jahslib.models.growing.convnet import GrowingConvNet

CONV, FC = 1, 3  # blocks with more than one input channel


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def captured(i, *, batch=40, fc=(6, 5), seed=0):
    """A block of a network, its input and its output."""
    net = GrowingConvNet((3, 4), fc, size=12, generator=generator(seed), batch_norm="running")
    net.capturing = True
    net(torch.randn(batch, 1, 12, 12, generator=generator(7)))
    block, x = net.blocks[i], net.captured[i]
    return block, (x if block.is_conv else x.flatten(1)), net.captured[i + 1]


def drawn(name, i, count=4, extra=30, seed=1, **options):
    block, x, output = captured(i, **options)
    with torch.no_grad():
        return block, x, output, INITIALISATIONS[name](block, x, output, count, extra, generator(seed))


@pytest.mark.parametrize("i", range(4))
@pytest.mark.parametrize("name", INITIALISATIONS)
class TestEach:
    def test_gives_as_many_neurons_as_asked_for_of_the_layers_shape(self, name, i):
        block, _, _, (weight, bias) = drawn(name, i)
        assert weight.shape == (4, *block.layer.weight.shape[1:]) and bias.shape == (4,)
        assert torch.isfinite(weight).all() and torch.isfinite(bias).all()
        assert len(weight.flatten(1).unique(dim=0)) == 4

    def test_depends_on_the_generator_alone(self, name, i):
        same = [drawn(name, i)[-1], drawn(name, i)[-1]]
        other = drawn(name, i, seed=2)[-1]
        assert all(torch.equal(a, b) for a, b in zip(*same, strict=True))
        assert not torch.equal(same[0][0], other[0])


class TestSelect:
    @pytest.mark.parametrize("i", [CONV, FC])
    def test_candidates_spread_like_the_present_weights(self, i):
        block, *_ = captured(i)
        with torch.no_grad():
            weight, bias = candidates._like_present(block, 200, generator())
            present = block.layer.weight.std().item(), block.layer.bias.std().item()
        assert len(weight) == len(bias) == 200
        assert (weight.std().item(), bias.std().item()) == pytest.approx(present, rel=1e-5)
        assert weight.abs().max().item() == pytest.approx(present[0] * 3**0.5, rel=0.1), "uniform, not normal"

    @pytest.mark.parametrize("i", [CONV, FC])
    def test_keeps_those_that_the_present_neurons_represent_least(self, i):
        count, extra = 4, 60
        block, x, output, (weight, bias) = drawn("select", i, count, extra)
        everyone = candidates._like_present(block, count + extra, generator(1))
        out = block.simulate(x, *everyone)
        missed = ranks.residual(ranks.activation_matrix(output), ranks.activation_matrix(out))
        best = missed.topk(count).indices
        assert torch.equal(weight, everyone[0][best]) and torch.equal(bias, everyone[1][best])
        assert missed[best].min() > missed.median()

    def test_without_extra_candidates_all_drawn_are_taken(self):
        _, _, _, (weight, _) = drawn("select", CONV, 4, 0)
        assert len(weight) == 4

    def test_a_layer_of_one_neuron_has_no_spread_of_biases_to_match(self):
        net = GrowingConvNet((1,), size=4, generator=generator(), batch_norm="none")
        weight, bias = candidates._like_present(net.blocks[0], 50, generator())
        assert torch.isfinite(weight).all() and torch.isfinite(bias).all() and bias.std() > 0


@pytest.mark.parametrize("name", ["random", "pre", "weight"])
@pytest.mark.parametrize("i", [2, FC])
def test_norths_initialisations_have_the_present_neurons_mean_norm_and_no_bias(name, i):
    block, _, _, (weight, bias) = drawn(name, i)
    mean = block.layer.weight.flatten(1).norm(dim=1).mean().item()
    assert weight.flatten(1).norm(dim=1).tolist() == pytest.approx([mean] * 4, rel=1e-5)
    assert not bias.any()


class TestWeight:
    @pytest.mark.parametrize("i", [CONV, 2])
    def test_directions_are_orthogonal_to_the_present_rows_where_there_is_room(self, i):
        block, _, _, (weight, _) = drawn("weight", i)
        assert block.width < block.layer.weight[0].numel()
        assert cosines(weight, block.layer.weight).max() < 1e-5

    def test_where_the_present_rows_span_everything_the_direction_stays_random(self):
        net = GrowingConvNet((12,), size=4, generator=generator())  # 3 x 3 kernels on one channel: nine dimensions
        with torch.no_grad():
            weight, _ = candidates.weight(net.blocks[0], None, None, 3, 0, generator())
        assert torch.linalg.matrix_rank(weight.flatten(1)) == 3
        assert weight.flatten(1).norm(dim=1).min() > 0.1


class TestPre:
    @pytest.mark.parametrize("batch", [40, 20], ids=["more samples than inputs", "fewer"])
    def test_pre_activations_are_orthogonal_to_the_present_ones(self, batch):
        block, x, output = captured(2, batch=batch)
        assert (batch > x.shape[1]) == (batch == 40)
        with torch.no_grad():
            if batch == 40:  # with a bias the present pre-activations leave what weights alone can reach
                block.layer.bias.zero_()
            present = block.layer(x).T
            weight, bias = candidates.pre(block, x, output, 4, 30, generator())
            new = F.linear(x, weight, bias).T
        assert cosines(new, present).max() < 1e-4
        assert cosines(F.linear(x, *drawn("random", 2, batch=batch)[-1]).T, present).max() > 0.1

    def test_of_several_the_least_representable_are_kept(self):
        means = []
        for extra in (0, 60):
            block, x, output, new = drawn("pre", 2, 4, extra)
            out = block.simulate(x, *new)
            means.append(ranks.residual(ranks.activation_matrix(output), ranks.activation_matrix(out)).mean())
        assert means[1] > means[0]

    def test_convolutions_fall_back_to_select(self):
        pre, select = (drawn(name, CONV)[-1] for name in ("pre", "select"))
        assert all(torch.equal(a, b) for a, b in zip(pre, select, strict=True))


def cosines(a, b):
    a, b = (F.normalize(m.detach().flatten(1), dim=1) for m in (a, b))
    return (a @ b.T).abs()
