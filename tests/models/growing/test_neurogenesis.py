import copy
import itertools
import math

import pytest
import torch
from torch import nn

from jahslib.errors import UserError
from jahslib.models.growing import ranks
from jahslib.models.growing.candidates import INITIALISATIONS
from jahslib.models.growing.convnet import GrowingConvNet
from jahslib.models.growing.neurogenesis import GrowthRule, Neurogenesis, _North, _Threshold
from jahslib.training.trainer import Recipe, Training

ROOM = 1000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def data(n=100):
    """12-pixel images whose class shows in which of ten places is bright."""
    images = torch.randint(0, 120, (n, 1, 12, 12), generator=generator(), dtype=torch.uint8)
    labels = torch.arange(n) % 10
    for i, label in enumerate(labels.tolist()):
        images[i, 0, 6 * (label // 5) :, 2 * (label % 5) :][:4, :3] += 130
    return images, labels


def builder(rule=None, conv=(4, 4), fc=(), batch_norm="batch", trace_every=0, **options):
    def build(g):
        net = GrowingConvNet(conv, fc, size=12, generator=g, batch_norm=batch_norm)
        return Neurogenesis(net, rule or GrowthRule(**options), generator=g, trace_every=trace_every)

    return build


def training(rule=None, seed=0, recipe=None, **options):
    """Two steps an epoch."""
    build = builder(rule, **options)
    return Training(build, *data(), recipe or Recipe(50, 0.01), seed=seed, after_step=Neurogenesis.grow)


def fast(**options):
    """Grows early and much."""
    return {"conv_threshold": 0.1, "fc_threshold": 0.1, "every": 1, "candidates": 20} | options


class TestThreshold:
    """Sequences worked out by hand; `average` is .9 of itself and .1 of r, from q."""

    @staticmethod
    def run(q, sequence, n=10, room=ROOM):
        trigger = _Threshold(q)
        return [trigger(r, n, room) for r in sequence], trigger

    def test_the_average_starts_at_the_threshold(self):
        added, trigger = self.run(0.5, [1.0])
        assert trigger.average == pytest.approx(0.55) and added == [0]
        trigger(0.0, 10, ROOM)
        assert trigger.average == pytest.approx(0.495)

    def test_it_holds_off_until_four_averages_exist_and_the_last_is_the_largest(self):
        # averages .55, .595, .6355, .67195: the excess over q is .17195 of 10 neurons, rounded up
        assert self.run(0.5, [1.0] * 4)[0] == [0, 0, 0, 2]

    def test_equal_averages_have_not_fallen(self):
        trigger = _Threshold(0.5, average=0.8, recent=(0.8,) * 3)
        assert trigger(0.8, 10, ROOM) == 3

    def test_a_fall_among_the_last_four_keeps_holding(self):
        # averages .55, .595, .5355 (r = 0), .58195 (< .595), .623755 (the largest of the last four)
        added, _ = self.run(0.5, [1.0, 1.0, 0.0, 1.0, 1.0])
        assert added == [0, 0, 0, 0, 2]

    def test_growth_holds_off_anew_and_rising_averages_release_it_at_once(self):
        trigger = _Threshold(0.5, average=0.8, recent=(0.6, 0.7, 0.8))
        assert trigger(0.9, 10, ROOM) == 4 and trigger.holds  # average .81
        assert trigger(0.5, 14, ROOM) == 0 and trigger.holds  # .779: fell, as a wider layer's rank does
        assert trigger(0.85, 14, ROOM) == 0  # .7861 < .81
        assert trigger(0.85, 14, ROOM) == 0  # .79249 < .81
        assert trigger(0.85, 14, ROOM) == 5 and trigger.holds  # .798241: .81 has left the last four; .298241 of 14

    def test_a_released_layer_without_need_stays_released(self):
        trigger = _Threshold(0.5, average=0.3, recent=(0.3,) * 3)
        assert trigger(0.3, 10, ROOM) == 0 and not trigger.holds
        trigger.average = 0.6
        assert trigger(0.0, 10, ROOM) == 1  # .54, though it fell

    def test_what_there_is_no_room_for_is_not_wanted(self):
        trigger = _Threshold(0.5, average=0.8, recent=(0.8,) * 3)
        assert trigger(0.8, 10, 2) == 2 and trigger.holds
        full = _Threshold(0.5, average=0.8, recent=(0.8,) * 3)
        assert full(0.8, 10, 0) == 0 and not full.holds

    def test_an_average_that_only_floating_point_lifts_above_q_adds_nothing(self):
        q = 0.3
        trigger = _Threshold(q, average=math.nextafter(q, 1), recent=(q,) * 3)
        assert trigger(math.nextafter(q, 1), 128, ROOM) == 0

    def test_q_of_one_never_grows_and_q_of_zero_grows_by_the_rank(self):
        assert self.run(1.0, [1.0] * 50)[0] == [0] * 50
        trigger = _Threshold(0.0, average=0.8, recent=(0.8,) * 3)
        assert trigger(0.8, 10, ROOM) == 8


class TestNorth:
    @staticmethod
    def run(gamma, sequence, n=20, room=ROOM):
        trigger = _North(gamma)
        return [trigger(r, n, room) for r in sequence]

    def test_whole_neurons_above_gamma_times_the_largest_before(self):
        # 20 (.8 - .9 .8) = 1.6; 20 (.9 - .9 .8) = 3.6; 20 (.85 - .81) = .8; 20 (.82 - .81) = .2; 20 (1 - .81) = 3.8
        assert self.run(0.9, [0.8, 0.9, 0.85, 0.82, 1.0]) == [1, 3, 0, 0, 3]

    def test_the_originals_code_on_a_given_course(self):
        assert self.run(0.9, [0.7, 0.8, 0.85, 0.85, 0.9, 0.6, 0.95], n=16) == [1, 2, 2, 1, 2, 0, 2]

    def test_a_falling_rank_adds_nothing(self):
        assert self.run(0.9, [1.0, 0.8, 0.5]) == [2, 0, 0]

    def test_eight_neurons_of_full_rank_never_grow_at_point_nine(self):
        assert self.run(0.9, [1.0] * 5, n=8) == [0] * 5

    def test_floating_point_takes_no_neuron_away(self):
        assert [self.run(0.9, [1.0], n=n)[0] for n in range(10, 101, 10)] == list(range(1, 11))

    def test_room_clips(self):
        assert self.run(0.1, [1.0], room=3) == [3] and self.run(0.1, [1.0], room=0) == [0]


class TestSteps:
    """When growth happens, with ranks that are given instead of measured."""

    @staticmethod
    def grown(r, steps, monkeypatch, **options):
        """Neurons added at each step, and whether the only layer held off after it."""
        monkeypatch.setattr(Neurogenesis, "_relative_rank", lambda *_: r)
        model = builder(conv=(4,), **{"conv_threshold": 0.2, "candidates": 5} | options)(generator())
        added = []
        for _ in range(steps):
            model(data(20)[0] / 255)
            added.append((model.grow(), model.triggers[0].holds if hasattr(model.triggers[0], "holds") else None))
        return added

    def test_only_every_so_many_steps_and_blocked_triggers_hold_off_anew(self, monkeypatch):
        # From step 4 on the rising average releases the trigger at each step, so that it is re-armed at each too.
        added = self.grown(1.0, 21, monkeypatch, every=10)
        assert [i for i, (count, _) in enumerate(added, 1) if count] == [10, 20]
        assert [holds for _, holds in added] == [True] * 21
        # averages 1 - .8 .9^10 = .7210563 of 4 neurons less .2: 2.08; 1 - .8 .9^20 = .9027 of 7 less .2: 4.9
        assert [count for count, _ in added if count] == [3, 5]

    def test_every_step_on_demand(self, monkeypatch):
        added = [count for count, _ in self.grown(1.0, 6, monkeypatch, every=1)]
        # averages .4751, .5276, .5748 from the fourth step on: 4 (.2751) = 1.1; 6 (.3276) = 2.0; 8 (.3748) = 3.0
        assert added[:4] == [0, 0, 0, 2]
        assert added[4:] == [math.ceil(6 * (1 - 0.8 * 0.9**5 - 0.2)), math.ceil(8 * (1 - 0.8 * 0.9**6 - 0.2))]

    def test_north_grows_from_the_first_step(self, monkeypatch):
        added = [count for count, _ in self.grown(1.0, 3, monkeypatch, every=1, trigger="north", conv_threshold=0.5)]
        assert added == [2, 3, 4]

    def test_the_widest_layer_allowed_is_reached_and_never_passed(self, monkeypatch):
        added = [count for count, _ in self.grown(1.0, 12, monkeypatch, every=1, max_conv=9)]
        assert sum(added) == 5


class TestMeasures:
    """The relative rank of a layer against the definition of each measure."""

    @staticmethod
    def relative_ranks(i, **options):
        model = builder(conv=(6, 4), fc=(5,), every=1, **options)(generator())
        model(data(20)[0] / 255)
        output, block = model.net.captured[i + 1], model.net.blocks[i]
        with torch.no_grad():
            r = model._relative_rank(i, output, None)
        return r, ranks.activation_matrix(output).double(), block.layer.weight.detach().double().flatten(1)

    @pytest.mark.parametrize("i", range(3))
    def test_of_activations(self, i):
        r, h, _ = self.relative_ranks(i)
        n, s = h.shape[1], torch.linalg.svdvals(h)
        assert r == pytest.approx(ranks.effective_rank(s) / n, rel=1e-5)
        r, *_ = self.relative_ranks(i, measure="numerical", epsilon=0.5)
        assert r == ranks.numerical_rank(s, 0.5) / n
        r, *_ = self.relative_ranks(i, measure="gap")
        gram = h @ h.T / h.square().sum()
        assert r == pytest.approx(1 - float((gram - torch.eye(len(h)) / len(h)).norm()), abs=1e-5)

    @pytest.mark.parametrize("i", range(3))
    def test_of_weights(self, i):
        r, _, w = self.relative_ranks(i, trigger="weight")
        s = torch.linalg.svdvals(w / math.sqrt(w.shape[1]))
        assert r == pytest.approx(ranks.effective_rank(s) / len(w), rel=1e-4)
        r, *_ = self.relative_ranks(i, trigger="weight", measure="numerical", epsilon=0.05)
        assert r == ranks.numerical_rank(s, 0.05) / len(w)


class TestGrowth:
    @pytest.mark.parametrize("batch_norm", ["batch", "running", "none"])
    @pytest.mark.parametrize("initialisation", INITIALISATIONS)
    def test_every_initialisation_grows_every_layer_and_leaves_the_function(self, initialisation, batch_norm):
        options = fast(trigger="north", initialisation=initialisation, max_conv=40, max_fc=40)
        t = training(fc=(8, 8), batch_norm=batch_norm, seed=1, **options)
        changes = []

        def function(net):  # in double precision, as normalising a nearly dead neuron magnifies what single rounds off
            return copy.deepcopy(net).double().eval()(data(20)[0].double() / 255).detach()

        def grow(model, *step):
            before = function(model.net)
            if model.grow():
                changes.append(float((function(model.net) - before).abs().max()))

        t.after_step = grow
        losses = t.run(3)
        assert len(changes) >= 2 and max(changes) < 1e-12
        assert all(now > then for now, then in zip(t.model.net.widths, [4, 4, 8, 8], strict=True))
        assert all(map(math.isfinite, losses))

    def test_a_growing_network_learns(self):
        t = training(**fast(every=5), batch_norm="running")
        t.run(15)
        images, labels = data()
        assert (t.predict(images).argmax(1) == labels).float().mean() > 0.9
        assert sum(t.model.net.widths) > 20

    def test_q_of_one_trains_the_ordinary_network(self):
        never = training(conv_threshold=1.0, every=1)
        plain = Training(lambda g: builder()(g).net, *data(), Recipe(50, 0.01), seed=0)
        assert never.run(4) == plain.run(4)
        assert never.model.net.widths == [4, 4]

    def test_the_weight_trigger_grows(self):
        t = training(**fast(trigger="weight", conv_threshold=0.5))
        t.run(2)
        assert sum(t.model.net.widths) > 8

    def test_layers_grow_from_the_last_to_the_first(self, monkeypatch):
        order = []
        add = GrowingConvNet.add_neurons
        monkeypatch.setattr(GrowingConvNet, "add_neurons", lambda net, i, *new: (order.append(i), add(net, i, *new)))
        training(**fast(trigger="north"), fc=(4,)).run(1)
        assert order[:3] == [2, 1, 0]

    def test_the_moments_of_the_optimizer_follow(self):
        t = training(**fast())
        t.run(4)
        t.model.train()
        t.step(*t._batch(torch.arange(50)))
        assert sum(t.model.net.widths) > 8
        for p in t.model.parameters():
            assert all(v.shape[: p.ndim] <= p.shape for v in t.optimizer.state[p].values() if v.ndim)

    def test_grow_needs_a_forward_pass_of_its_own(self):
        model = builder()(generator())
        with pytest.raises(UserError, match="no activations"):
            model.grow()
        model(data(20)[0] / 255)
        model.grow()
        with pytest.raises(UserError, match="no activations"):
            model.grow()

    def test_evaluation_captures_nothing(self):
        model = builder()(generator()).eval()
        model(data(20)[0] / 255)
        with pytest.raises(UserError, match="no activations"):
            model.grow()


class TestLimit:
    @pytest.mark.parametrize("limit", [1_000, 5_000, 30_000])
    @pytest.mark.parametrize("fc", [(), (4,)])
    def test_the_number_of_parameters_is_nearly_reached_and_never_passed(self, fc, limit):
        t = training(**fast(trigger="north"), fc=fc, max_params=limit, trace_every=1)
        t.run(6)
        counts = [row["params"] for row in t.model.trace]
        assert counts == sorted(counts) and max(counts) <= limit
        assert t.model.net.count_parameters() == counts[-1] > 0.9 * limit

    def test_the_price_of_a_neuron_is_what_it_adds(self):
        model = builder(conv=(4, 4), fc=(4, 4))(generator())
        for i in range(4):
            price, before = model._price(i), model.net.count_parameters()
            weight = torch.zeros(3, *model.net.blocks[i].layer.weight.shape[1:])
            model.net.add_neurons(i, weight, torch.zeros(3), torch.zeros(3), torch.ones(3))
            assert model.net.count_parameters() == before + 3 * price

    def test_growth_that_is_over_costs_no_more_measuring(self, monkeypatch):
        t = training(**fast(max_conv=6))
        t.run(5)
        assert t.model.net.widths == [6, 6]
        monkeypatch.setattr(ranks, "singular_values", None)
        t.run(6)
        limited = training(**fast(max_params=700))
        monkeypatch.undo()
        limited.run(8)
        monkeypatch.setattr(ranks, "singular_values", None)
        limited.run(9)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"max_conv": 3}, "max_conv: 3 is below the initial width 4"),
            ({"fc": (4,), "max_fc": 2}, "max_fc: 2 is below the initial width 4"),
            ({"max_params": 300}, "max_params: 300 is below the 558 of the network before growth"),
        ],
    )
    def test_a_network_too_large_to_begin_with_is_refused(self, options, said):
        with pytest.raises(UserError, match=said):
            builder(**options)(generator())


class TestTrace:
    def test_holds_ranks_averages_and_widths_of_every_so_many_steps(self):
        t = training(**fast(), trace_every=2)
        t.run(3)
        trace = t.model.trace
        assert [row["step"] for row in trace] == [2, 4, 6]
        names = itertools.product(("numerical", "effective", "average", "width"), (0, 1))
        assert set(trace[0]) == {"step", "params", "train_acc", "train_loss"} | {f"{name}_{i}" for name, i in names}
        for row, i in itertools.product(trace, (0, 1)):
            assert 0 < row[f"effective_{i}"] <= row[f"width_{i}"] and row[f"numerical_{i}"] <= row[f"width_{i}"]

    def test_tracing_does_not_change_the_training(self):
        traced, plain = training(**fast(), trace_every=1), training(**fast())
        assert traced.run(4) == plain.run(4)

    @pytest.mark.parametrize("trace_every", [1, 3])
    def test_averages_do_not_depend_on_how_often_they_are_noted(self, trace_every):
        t = training(conv_threshold=0.1, max_conv=4, trace_every=trace_every)  # which has no room to grow
        t.run(3)
        always = training(conv_threshold=0.1, max_conv=4, trace_every=1)
        always.run(3)
        assert t.model.trace[-1] == always.model.trace[-1]


RECIPES = [Recipe(50, 0.01), Recipe(50, 0.5, "adadelta"), Recipe(50, 0.05, "sgd", momentum=0.9)]


class TestContinuation:
    @pytest.mark.parametrize(
        ("options", "recipe"),
        [
            *((fast(), recipe) for recipe in RECIPES),
            (fast(every=3), RECIPES[0]),
            (fast(trigger="north", conv_threshold=0.7, fc_threshold=0.7, batch_norm="running", fc=(4,)), RECIPES[0]),
        ],
        ids=[*(recipe.optimizer for recipe in RECIPES), "every 3rd step", "north"],
    )
    def test_save_and_restore_in_mid_growth_is_bit_for_bit_the_uninterrupted_run(self, tmp_path, options, recipe):
        options = options | {"trace_every": 2, "max_params": 20_000}
        whole = training(recipe=recipe, **options)
        losses = whole.run(8)
        parts, widths = [], []
        for epochs in (1, 2, 3, 5, 8):  # with growth at every step the optimizer's state is yet to follow when saved
            t = training(recipe=recipe, **options)
            if epochs > 1:
                t.restore(tmp_path / "checkpoint.pt")
            parts += t.run(epochs)
            t.save(tmp_path / "checkpoint.pt")
            widths.append(t.model.net.widths)
        assert parts == losses and widths[1] != widths[2] != widths[-1]
        ours, theirs = t.model.state_dict(), whole.model.state_dict()
        extra = "_extra_state"
        assert ours.pop(extra) == theirs.pop(extra) and ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    def test_restoring_the_triggers_matters(self, tmp_path):
        """What the hold-off and the average have seen decides the growth that follows."""
        t = training(**fast())
        t.run(3)
        t.save(tmp_path / "a.pt")
        state = torch.load(tmp_path / "a.pt", weights_only=True)["model"]["_extra_state"]
        assert state["steps"] == 6 and all(len(trigger["recent"]) == 4 for trigger in state["triggers"])

    def test_a_network_of_another_depth_is_refused(self, tmp_path):
        training(**fast()).save(tmp_path / "a.pt")
        with pytest.raises(UserError, match=r"a\.pt"):
            training(**fast(), fc=(4,)).restore(tmp_path / "a.pt")

    def test_a_deep_copy_grows_on_its_own(self):
        t = training(**fast())
        t.run(3)
        twin, widths = copy.deepcopy(t.model), t.model.net.widths
        t.run(5)
        assert twin.net.widths == widths < t.model.net.widths
        assert twin.triggers[0] is not t.model.triggers[0] and twin.steps == 6
        for _ in range(4):
            twin(data(20)[0] / 255)
            twin.grow()
        assert twin.net.widths > widths


class TestRule:
    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"conv_threshold": 1.2}, "conv_threshold: 1.2; give a number from 0 to 1"),
            ({"fc_threshold": -0.1}, "fc_threshold: -0.1"),
            ({"conv_threshold": math.nan}, "conv_threshold: nan"),
            ({"trigger": "gradient"}, "trigger: 'gradient' is unknown"),
            ({"measure": "rank"}, "measure: 'rank' is unknown"),
            ({"initialisation": "zero"}, "initialisation: 'zero' is unknown"),
            ({"every": 0}, "every: 0; give a whole number of at least 1"),
            ({"max_conv": 0}, "max_conv: 0"),
            ({"candidates": -1}, "candidates: -1; give a whole number of at least 0"),
        ],
    )
    def test_refuses_what_makes_no_sense(self, bad, said):
        with pytest.raises(UserError, match=said):
            GrowthRule(**bad)

    def test_defaults_are_the_papers(self):
        rule = GrowthRule()
        assert (rule.epsilon, rule.every, rule.candidates) == (0.1, 10, 100)
        assert (_Threshold.DECAY, _Threshold.PATIENCE) == (0.9, 4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("bf16", [False, True])
def test_it_grows_on_cuda(bf16):
    t = Training(
        builder(GrowthRule(**fast()), fc=(4,)),
        *data(),
        Recipe(50, 0.01),
        seed=0,
        device="cuda",
        after_step=Neurogenesis.grow,
        bf16=bf16,
    )
    t.run(6)
    assert all(w > 4 for w in t.model.net.widths) and isinstance(t.model, nn.Module)
