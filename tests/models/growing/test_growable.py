import copy

import pytest
import torch
from torch import nn

from jahslib.errors import UserError
from jahslib.models.growing import growable
from jahslib.models.layers import reset_parameters


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def conv(inputs=20, outputs=10, seed=0):
    return made(growable.Conv2d(inputs, outputs, 3, padding=1, device="meta"), seed)


def linear(inputs=20, outputs=10, seed=0):
    return made(growable.Linear(inputs, outputs, device="meta"), seed)


def made(layer, seed):
    layer = layer.to_empty(device="cpu")
    reset_parameters(layer, generator(seed))
    return layer


LAYERS = {"conv": (conv, (20, 6, 6)), "linear": (linear, (20,))}
BOTH = pytest.mark.parametrize("kind", LAYERS)


def pair(kind, batch=5):
    build, shape = LAYERS[kind]
    return build(), torch.randn(batch, *shape, generator=generator(9))


class TestLayers:
    @BOTH
    def test_the_same_seed_gives_torchs_weights(self, kind):
        layer, x = pair(kind)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            ordinary = nn.Conv2d(20, 10, 3, padding=1) if kind == "conv" else nn.Linear(20, 10)
        assert torch.equal(layer.weight, ordinary.weight) and torch.equal(layer.bias, ordinary.bias)
        assert torch.equal(layer(x), ordinary(x))

    @BOTH
    def test_new_inputs_change_nothing_whatever_they_carry(self, kind):
        layer, x = pair(kind)
        before = layer(x)
        layer.add_inputs(10)
        after = layer(torch.cat([x, torch.randn_like(x[:, :10])], 1))
        torch.testing.assert_close(after, before, rtol=0, atol=1e-6)
        assert layer.weight.shape[1] == 30 and not layer.weight[:, 20:].any()

    @BOTH
    def test_new_outputs_leave_the_old_ones(self, kind):
        layer, x = pair(kind)
        before = layer(x)
        layer.add_outputs(torch.zeros(7, *layer.weight.shape[1:]))
        assert layer(x).shape[1] == 17 and not layer(x)[:, 10:].any()
        rows, bias = torch.randn(9, *layer.weight.shape[1:], generator=generator(1)), torch.full((9,), 0.5)
        layer.add_outputs(rows, bias)
        after = layer(x)
        torch.testing.assert_close(after[:, :10], before, rtol=0, atol=1e-6)
        assert not after[:, 10:17].any() and after[:, 17:].abs().min() > 0
        assert torch.equal(layer.weight[17:], rows) and torch.equal(layer.bias[17:], bias)

    @BOTH
    def test_attributes_tell_the_present_size(self, kind):
        layer, _ = pair(kind)
        layer.add_outputs(torch.zeros(2, *layer.weight.shape[1:]))
        layer.add_inputs(3)
        sizes = (layer.in_channels, layer.out_channels) if kind == "conv" else (layer.in_features, layer.out_features)
        assert sizes == (23, 12) and sum(p.numel() for p in layer.parameters()) == layer.weight.numel() + 12

    def test_weights_that_do_not_fit_are_refused_and_nothing_changes(self):
        layer = conv()
        with pytest.raises(UserError, match=r"\(7, 19, 3, 3\) does not fit \(10, 20, 3, 3\)"):
            layer.add_outputs(torch.zeros(7, 19, 3, 3))
        with pytest.raises(UserError, match=r"bias of shape \(3,\) for 7 neurons"):
            layer.add_outputs(torch.zeros(7, 20, 3, 3), torch.zeros(3))
        assert layer.weight.shape == (10, 20, 3, 3) and layer.bias.shape == (10,)

    def test_a_layer_without_bias_grows(self):
        layer = growable.Linear(4, 3, bias=False)
        layer.add_outputs(torch.ones(2, 4))
        assert layer(torch.ones(1, 4)).shape == (1, 5)

    def test_the_memory_layout_survives(self):
        layer = conv().to(memory_format=torch.channels_last)
        layer.add_outputs(torch.zeros(2, 20, 3, 3))
        layer.add_inputs(3)
        assert layer.weight.is_contiguous(memory_format=torch.channels_last)


class TestBatchNorm:
    @pytest.mark.parametrize("running", [True, False])
    def test_features_are_added_with_their_statistics(self, running):
        norm = growable.BatchNorm(3, track_running_stats=running)
        x = torch.randn(50, 5, generator=generator()) * 3 + 1
        norm(x[:, :3])
        with torch.no_grad():
            norm.weight.fill_(2)
        norm.eval()
        before = norm(x[:, :3])
        norm.add_features(x[:, 3:].mean(0), x[:, 3:].var(0))
        assert norm.num_features == 5 and norm.weight.tolist() == [2, 2, 2, 1, 1] and norm.bias.tolist() == [0] * 5
        after = norm(x)
        torch.testing.assert_close(after[:, :3], before, rtol=0, atol=1e-5)
        torch.testing.assert_close(after[:, 3:].mean(0), torch.zeros(2), rtol=0, atol=1e-5)
        torch.testing.assert_close(after[:, 3:].var(0), torch.ones(2), rtol=0.03, atol=0)

    def test_batch_statistics_serve_in_evaluation_too(self):
        norm = growable.BatchNorm(3, track_running_stats=False).eval()
        x = torch.randn(50, 3, 4, 4, generator=generator()) * 3 + 1
        torch.testing.assert_close(norm(x).mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)

    def test_it_computes_what_torchs_does(self):
        x = torch.randn(20, 3, 4, 4, generator=generator())
        ours, theirs = growable.BatchNorm(3), nn.BatchNorm2d(3)
        assert torch.equal(ours(x), theirs(x)) and torch.equal(ours.eval()(x), theirs.eval()(x))


class Net(nn.Module):
    """conv -> BN -> linear -> linear, each of which can be widened."""

    def __init__(self, width=4, seed=0):
        super().__init__()
        self.conv, self.norm = conv(1, width, seed), growable.BatchNorm(width)
        self.hidden, self.out = linear(width * 16, 5, seed), linear(5, 3, seed)

    def forward(self, x):
        return self.out(self.hidden(self.norm(self.conv(x).relu()).flatten(1)).relu())

    def widen(self, count=2, seed=5):
        g = generator(seed)
        self.conv.add_outputs(torch.randn(count, 1, 3, 3, generator=g), torch.randn(count, generator=g))
        self.norm.add_features(torch.zeros(count), torch.ones(count))
        self.hidden.add_inputs(16 * count)
        self.hidden.add_outputs(torch.randn(1, self.hidden.in_features, generator=g))
        self.out.add_inputs(1)


X, Y = torch.randn(8, 1, 4, 4, generator=generator(3)), torch.arange(8) % 3


def loss(net):
    return nn.functional.cross_entropy(net(X), Y)


def step(net, optimizer):
    optimizer.zero_grad()
    loss(net).backward()
    optimizer.step()


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, fused=True),
    "sgd without momentum": lambda p: torch.optim.SGD(p, 0.05),
    "adam": lambda p: torch.optim.Adam(p, 0.01),
    "adam, fused": lambda p: torch.optim.Adam(p, 0.01, fused=True),
    "adam, one by one": lambda p: torch.optim.Adam(p, 0.01, foreach=False),
    "amsgrad": lambda p: torch.optim.Adam(p, 0.01, amsgrad=True),
    "adamw, fused": lambda p: torch.optim.AdamW(p, 0.01, fused=True),
    "adadelta": lambda p: torch.optim.Adadelta(p, 1.0),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.5),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.01),
    "adagrad, begun": lambda p: torch.optim.Adagrad(p, 0.01, initial_accumulator_value=0.5),
    "rprop": lambda p: torch.optim.Rprop(p, 0.01),
    "asgd": lambda p: torch.optim.ASGD(p, 0.05, lambd=0.0),
}

# What a new element's state begins with, where it is not zero.
BEGINS = {("rprop", "step_size"): 0.01, ("adagrad, begun", "sum"): 0.5}


class TestOptimizers:
    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_one_built_before_growth_goes_on_after_it(self, name):
        """Moments are the old ones where the network was, and as they begin where it is new; then all is trained."""
        net = Net()
        optimizer = OPTIMIZERS[name](net.parameters())
        for _ in range(3):
            step(net, optimizer)
        before = {p: {k: v.clone() for k, v in moments(optimizer, p).items()} for p in net.parameters()}
        shapes = {p: p.shape for p in net.parameters()}
        net.widen()
        loss(net).backward()
        growable._before_step(optimizer, (), {})
        for p, old in before.items():
            was = inside(shapes[p], p)
            for k, now in moments(optimizer, p).items():
                assert now.shape == p.shape and torch.equal(now[was], old[k].flatten())
                begins = p[~was].detach() if k == "ax" else torch.tensor(BEGINS.get((name, k), 0.0))
                assert (now[~was] == begins).all(), k
        losses = []
        for _ in range(12):
            step(net, optimizer)
            losses.append(float(loss(net).detach()))
        assert losses[-1] < losses[0]
        assert net.out.weight[:, -1].abs().min() > 0 and net.hidden.weight[:, -1].abs().min() > 0

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_growth_equals_training_inside_tensors_of_the_later_size(self, name):
        """The original's way as the reference: what is not yet active is zero and gets no gradient until it is."""
        net, reference = Net(), grown_to(Net())
        small = {n: p.shape for n, p in net.named_parameters()}
        active = {n: inside(small[n], p) for n, p in reference.named_parameters()}
        optimizer, reference_optimizer = OPTIMIZERS[name](net.parameters()), OPTIMIZERS[name](reference.parameters())
        with torch.no_grad():
            for n, p in reference.named_parameters():
                p.mul_(active[n])
        for _ in range(3):
            step(net, optimizer)
            reference_optimizer.zero_grad()
            loss(reference).backward()
            for n, p in reference.named_parameters():
                p.grad.mul_(active[n])
            reference_optimizer.step()
        net.widen()
        with torch.no_grad():
            for (n, p), grown in zip(reference.named_parameters(), net.parameters(), strict=True):
                p.copy_(torch.where(active[n], p, grown))
        for _ in range(3):
            step(net, optimizer)
            step(reference, reference_optimizer)
        for (n, p), expected in zip(net.named_parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(p, expected, rtol=1e-4, atol=2e-5, msg=n)

    def test_several_growths_between_two_steps(self):
        net = Net()
        optimizer = OPTIMIZERS["adam, fused"](net.parameters())
        step(net, optimizer)
        for _ in range(3):
            net.widen()
        step(net, optimizer)
        assert net.conv.out_channels == 10 and torch.isfinite(loss(net))

    @pytest.mark.parametrize("name", ["adam, fused", "sgd", "adadelta"])
    def test_a_loss_kept_alive_does_not_hold_the_old_shape(self, name):
        net = Net()
        optimizer = OPTIMIZERS[name](net.parameters())
        kept = [loss(net)]
        kept[0].backward()
        optimizer.step()
        for _ in range(2):
            net.widen()
            optimizer.zero_grad()
            kept.append(loss(net))
            kept[-1].backward()
            assert all(p.grad.shape == p.shape for p in net.parameters())
            optimizer.step()

    def test_the_state_is_saved_between_growth_and_step_and_continues(self):
        net = Net()
        optimizer = OPTIMIZERS["adam, fused"](net.parameters())
        step(net, optimizer)
        net.widen()
        other = Net(seed=1)
        restored = OPTIMIZERS["adam, fused"](other.parameters())
        other.load_state_dict(net.state_dict())
        restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        for _ in range(2):
            step(net, optimizer)
            step(other, restored)
        assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))

    @pytest.mark.parametrize("layer", [conv, linear])
    def test_a_state_that_is_not_element_wise_is_refused(self, layer):
        net = layer()
        x = torch.randn(5, 20, *(4, 4) * (layer is conv), generator=generator())
        optimizer = torch.optim.Adafactor(net.parameters(), 0.01)

        def train():
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()

        train()
        net.add_outputs(torch.zeros(2, *net.weight.shape[1:]))
        with pytest.raises(UserError, match=r"Adafactor keeps row_var .* not element-wise"):
            train()

    def test_one_that_keeps_all_parameters_in_one_vector_is_refused(self):
        """Also where the first of them, which has the state, is of an ordinary layer."""
        net = nn.Sequential(nn.Linear(20, 20), linear())
        optimizer = torch.optim.LBFGS(net.parameters(), 0.01)

        def closure():
            optimizer.zero_grad()
            loss = net(torch.ones(3, 20)).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)
        net[1].add_outputs(torch.zeros(2, 20))
        with pytest.raises(
            UserError, match=r"LBFGS keeps .* not element-wise and cannot follow growth; use an optimizer"
        ):
            optimizer.step(closure)

    @pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam])
    @pytest.mark.slow
    def test_a_compiled_step_is_refused_after_growth(self, make):
        net = Net()
        optimizer = make(net.parameters(), 0.01)
        compiled = torch.compile(optimizer.step, backend="eager")
        for _ in range(2):
            loss(net).backward()
            compiled()
        net.widen()
        loss(net).backward()
        with pytest.raises(UserError, match=r"a compiled step .* cannot follow growth; compile the network"):
            compiled()

    def test_parameters_that_cannot_grow_are_left_alone(self):
        net = nn.Linear(20, 10)
        optimizer = torch.optim.Adafactor(net.parameters(), 0.01)
        for _ in range(2):
            net(torch.ones(3, 20)).square().mean().backward()
            optimizer.step()


def moments(optimizer, parameter):
    state = optimizer.state[parameter]
    return {k: v for k, v in state.items() if isinstance(v, torch.Tensor) and v.ndim}


def grown_to(net):
    net.widen()
    return net


def inside(shape, parameter):
    mask = torch.zeros_like(parameter, dtype=torch.bool)
    mask[tuple(slice(n) for n in shape)] = True
    return mask


class TestModule:
    def test_the_parameters_stay_the_same_objects(self):
        net = Net()
        before = list(net.parameters())
        net.widen()
        assert all(a is b for a, b in zip(before, net.parameters(), strict=True))

    def test_a_state_dict_loads_into_any_size(self):
        large, small = Net(), Net(seed=1)
        large.widen()
        reduced = Net().state_dict()
        for source in (large.state_dict(), reduced):
            small.load_state_dict(source)
            assert all(torch.equal(v, source[k]) for k, v in small.state_dict().items())
        small.load_state_dict(large.state_dict())
        assert torch.equal(small.eval()(X), large.eval()(X))
        assert (small.conv.out_channels, small.norm.num_features, small.hidden.in_features) == (6, 6, 96)

    @pytest.mark.parametrize("fused", [False, True])
    def test_assigned_parameters_grow_under_an_optimizer(self, fused):
        net = Net()
        net.load_state_dict(copy.deepcopy(net.state_dict()), assign=True)
        optimizer = torch.optim.Adam(net.parameters(), fused=fused)
        step(net, optimizer)
        net.widen()
        step(net, optimizer)
        assert optimizer.state[net.conv.weight]["exp_avg"].shape == net.conv.weight.shape

    def test_another_kernel_is_another_network(self):
        five = growable.Conv2d(20, 10, 5)
        with pytest.raises(RuntimeError, match="size mismatch"):
            conv().load_state_dict(five.state_dict())

    def test_state_dict_keeps_torchs_names(self):
        assert set(conv().state_dict()) == set(nn.Conv2d(1, 1, 3).state_dict())
        assert set(growable.BatchNorm(2).state_dict()) == set(nn.BatchNorm2d(2).state_dict())

    @pytest.mark.parametrize("how", [copy.deepcopy, lambda net: net.to(torch.float64), lambda net: net.to("cpu")])
    def test_a_copied_or_moved_network_grows_and_trains(self, how):
        original = Net()
        optimizer = OPTIMIZERS["adam, fused"](original.parameters())
        step(original, optimizer)
        net = how(original)
        dtype = net.out.weight.dtype
        optimizer = OPTIMIZERS["adam, fused"](net.parameters())
        x = X.to(dtype)
        for _ in range(2):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), Y).backward()
            optimizer.step()
            net.widen()
        assert net.conv.out_channels == 8 and all(p.dtype == dtype for p in net.parameters())
        if how is copy.deepcopy:
            assert original.conv.out_channels == 4 and original.hidden.in_features == 64

    def test_growth_within_no_grad_leaves_parameters_trainable(self):
        net = Net()
        with torch.no_grad():
            net.widen()
            assert not net(X).requires_grad
        loss(net).backward()
        assert all(p.requires_grad and p.grad.shape == p.shape for p in net.parameters())

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
    def test_on_cuda(self):
        net = Net().to("cuda", memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(net.parameters(), 0.01, fused=True, capturable=True)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(X.cuda()), Y.cuda()).backward()
            optimizer.step()
            net.widen()
        assert net.conv.weight.is_cuda and torch.isfinite(net(X.cuda())).all()
