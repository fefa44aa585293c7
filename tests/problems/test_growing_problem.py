import itertools
import json
import os
import signal
from typing import get_args

import pytest
import torch

from jahslib.core.optimizer import Listed
from jahslib.core.problem import Job
from jahslib.data import registry
from jahslib.errors import UserError
from jahslib.models.growing.convnet import GrowingConvNet
from jahslib.models.growing.neurogenesis import Neurogenesis
from jahslib.optimizers.evolution import Evolution
from jahslib.problems.growing_convnet import (
    BASELINE,
    INCUMBENT,
    GrowingConvNets,
    Searched,
    space,
    static_configuration,
    widths,
)
from jahslib.search import Budget, search
from tests.conftest import decisions, forked

GROWING = {"learning_rate_init": 0.01, "n_conv_layers": 2, "n_fc_layers": 1}
GROWING |= {"conv_trigger_threshold": 0.1, "fc_trigger_threshold": 0.1}


def problem(**changes):
    """Two steps an epoch: 200 of 300 images of mnist5k."""
    options = {"data": "mnist5k", "per_class": 30, "folds_used": 1, "min_epochs": 3, "max_epochs": 6}
    return GrowingConvNets(**options | {"initial_width": 4, "rule": {"every": 1, "candidates": 10}} | changes)


def noted(outcome):
    return outcome.outputs["folds"][0]


class TestSpace:
    @pytest.mark.parametrize("searched", get_args(Searched))
    def test_every_configuration_says_how_deep_and_wide_its_network_is(self, searched):
        made = space(searched)
        made.seed(0)
        for c in map(dict, made.sample_configuration(30)):
            conv, fc = widths(c, 8)
            assert len(conv) == c.get("n_conv_layers", 3) and len(fc) == c.get("n_fc_layers", 0)
            if searched != "static":
                assert {*conv, *fc} == {16, 32, 64} if searched == "hyperparameters" else {8}
            assert ("fc_trigger_threshold" in c) == (searched in ("joint", "architecture") and len(fc) > 0)

    def test_widths_of_static_networks_follow_the_layers_present(self):
        made = space("static")
        made.seed(1)
        for c in map(dict, made.sample_configuration(30)):
            named = {n for n in c if n.startswith("n_channels")}
            expected = {f"n_channels_conv_{i}" for i in range(c["n_conv_layers"])}
            assert named == expected | {f"n_channels_fc_{i}" for i in range(c["n_fc_layers"])}
            assert all(8 <= c[n] <= 128 for n in named)

    def test_static_configurations_are_points_of_the_static_space(self):
        from ConfigSpace import Configuration

        c = static_configuration(0.01, [14, 34, 45, 19], 3)
        assert dict(Configuration(space("static"), values=c)) == pytest.approx(c)
        assert widths(c, 8) == ([14, 34, 45], [19]) and widths(BASELINE, 8) == ([16, 32, 64], [])

    @pytest.mark.parametrize("searched", get_args(Searched))
    def test_parameters_are_known_before_training(self, searched):
        p = problem(searched=searched, data="digits" if searched == "hyperparameters" else "mnist5k")
        size = 8 if searched == "hyperparameters" else 28
        p.space.seed(0)
        for c in map(dict, p.space.sample_configuration(5)):
            net = GrowingConvNet(*widths(c, 4), size=size, generator=torch.Generator())
            assert p.known(c)["params"] == net.count_parameters()

    @pytest.mark.parametrize(("configuration", "count"), [(BASELINE, 29_066), ({"trigger_threshold": 1.0}, 1_978)])
    def test_the_published_counts(self, configuration, count):
        assert problem(initial_width=8).known(configuration)["params"] == count


class TestSmallImages:
    @pytest.mark.parametrize("searched", ["joint", "static"])
    def test_the_space_holds_what_the_images_have_pixels_for(self, searched):
        """A fourth convolution would halve 8 pixels to nothing."""
        p = problem(data="digits", searched=searched)
        assert p.space["n_conv_layers"].upper == 3 and problem(searched=searched).space["n_conv_layers"].upper == 4
        p.space.seed(0)
        for c in map(dict, p.space.sample_configuration(30)):
            GrowingConvNet(*widths(c, 4), size=8, generator=torch.Generator())
        p.check()

    def test_a_configuration_that_is_too_deep_is_named(self):
        problem().check_configuration(INCUMBENT)
        problem(data="digits").check_configuration(BASELINE)
        with pytest.raises(UserError, match="data: 4 convolutions halve the 8-pixel images of digits to nothing"):
            problem(data="digits").check_configuration(INCUMBENT)


class TestEvaluation:
    @pytest.mark.parametrize("configuration", [GROWING, {"n_channels_conv_0": 8, "n_channels_fc_0": 8}])
    def test_a_single_image_left_over_for_the_last_batch_fails_no_training(self, configuration):
        p = problem(data="digits", per_class=None)
        (_, labels), _ = p._splits()[0]
        assert len(labels) % 100 == 1
        assert p.evaluate(Job(configuration, (1,), 0)).metrics["top1"] > 0

    def test_a_network_grows_to_the_limit_and_says_so(self):
        outcome = problem(max_params=6_000).evaluate(Job(GROWING, (6,), 0))
        fold = noted(outcome)
        assert fold["n_conv"] == 2 and len(fold["widths"]) == 3 and min(fold["widths"]) > 4
        assert 5_000 < fold["params"] == outcome.metrics["params"] <= 6_000
        assert outcome.metrics["top1"] == fold["top1"] > 0.3

    def test_thresholds_reach_the_layers_they_are_for(self):
        """q = 1 never grows a layer."""
        for name, grown in (("conv_trigger_threshold", [2]), ("fc_trigger_threshold", [0, 1])):
            result = problem(max_params=20_000).evaluate(Job(GROWING | {name: 1.0}, (5,), 0))
            assert [i for i, w in enumerate(noted(result)["widths"]) if w > 4] == grown

    def test_one_threshold_serves_all_layers(self):
        c = {"n_conv_layers": 2, "n_fc_layers": 1, "trigger_threshold": 0.3}
        rule = problem(searched="north", rule={"trigger": "north", "every": 1}).growth_rule(c)
        assert (rule.conv_threshold, rule.fc_threshold, rule.trigger) == (0.3, 0.3, "north")
        assert problem(max_params=123).growth_rule(c).max_params == 123

    def test_only_norths_trigger_says_what_it_compares_with(self):
        """Logs made before it compared with the steps before are others'; those of the threshold trigger stay."""
        assert all("compared_with" not in problem(rule=rule).describe() for rule in ({}, {"trigger": "threshold"}))
        for trigger in ("north", "weight"):
            assert problem(rule={"trigger": trigger}).describe()["compared_with"] == "steps before"

    @pytest.mark.parametrize("batch_norm", ["batch", "running", "none"])
    def test_batch_norm_is_of_the_kind_asked_for(self, batch_norm):
        p = problem(batch_norm=batch_norm)
        training = p.training(Job(GROWING, (3,), 0), p._splits()[0][0])
        norms = [m for m in training.model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        assert len(norms) == (0 if batch_norm == "none" else 3)
        assert all(norm.track_running_stats == (batch_norm == "running") for norm in norms)

    def test_static_networks_do_not_grow_and_tracing_them_changes_nothing(self):
        c = static_configuration(0.01, [5, 6, 7], 2)
        plain, traced = (problem(searched="static", trace_every=n).evaluate(Job(c, (3,), 0)) for n in (0, 2))
        assert noted(plain)["widths"] == noted(traced)["widths"] == [5, 6, 7] and noted(plain)["n_conv"] == 2
        assert plain.metrics == traced.metrics and plain.curve == traced.curve
        trace = noted(traced)["trace"]
        assert trace["step"] == [2, 4, 6] and trace["width_1"] == [6, 6, 6] and len(trace["effective_0"]) == 3
        json.dumps(traced.outputs)

    def test_a_trace_has_loss_and_accuracy_of_the_steps_it_is_of(self):
        """As the original's logs: of the step's own batch, before the step. An untraced training computes neither."""
        p = problem(trace_every=2)
        training = p.training(Job(GROWING, (3,), 0), p._splits()[0][0])
        steps, after = [], training.after_step
        training.after_step = lambda model, *step: (after(model, *step), steps.append(step))
        training.run(3)
        trace = training.model.trace
        assert [row["step"] for row in trace] == [2, 4, 6] and len(steps) == 6
        for row, (logits, labels, loss) in zip(trace, steps[1::2], strict=True):
            wanted = torch.nn.functional.cross_entropy(logits, labels).item()
            assert row["train_loss"] == loss.item() == pytest.approx(wanted)
            assert row["train_acc"] == (logits.argmax(1) == labels).sum().item() / len(labels)
        logged = noted(p.evaluate(Job(GROWING, (3,), 0)))["trace"]
        assert logged["train_loss"] == [round(row["train_loss"], 4) for row in trace]
        assert logged["train_acc"] == [round(row["train_acc"], 4) for row in trace]

    def test_tracing_a_growing_network_changes_nothing_else(self):
        plain = problem().evaluate(Job(GROWING, (3,), 0))
        traced = problem(trace_every=1).evaluate(Job(GROWING, (3,), 0))
        assert plain.metrics == traced.metrics and plain.curve == traced.curve
        assert noted(plain) == {k: v for k, v in noted(traced).items() if k != "trace"}

    def test_the_first_of_three_stratified_folds(self):
        (train, held_out), *others = problem(folds_used=3)._splits()
        assert len(others) == 2 and torch.bincount(train[1]).tolist() == [20] * 10
        assert torch.bincount(held_out[1]).tolist() == [10] * 10

    def test_a_seed_fixes_the_outcome(self):
        outcomes = [problem().evaluate(Job(GROWING, (3,), seed)) for seed in (1, 1, 2)]
        assert outcomes[0] == outcomes[1] and outcomes[0].curve != outcomes[2].curve


class TestContinuation:
    @pytest.mark.parametrize("folds_used", [1, 2])
    def test_a_promotion_in_mid_growth_is_bit_for_bit_the_uninterrupted_run(self, folds_used, tmp_path):
        p = problem(folds_used=folds_used, trace_every=1, max_params=20_000)
        whole = p.evaluate(Job(GROWING, (6,), 5, save=tmp_path / "whole"))
        first = p.evaluate(Job(GROWING, (3,), 5, save=tmp_path / "3"))
        second = p.evaluate(Job(GROWING, (3, 6), 5, restore=tmp_path / "3", save=tmp_path / "6"))
        assert second.metrics == whole.metrics and second.outputs == whole.outputs
        assert first.curve["train_loss"] + second.curve["train_loss"] == whole.curve["train_loss"]
        assert noted(first)["widths"] < noted(second)["widths"]
        assert (first.epochs, second.epochs, whole.epochs) == (3 * folds_used, 3 * folds_used, 6 * folds_used)
        for fold in range(folds_used):
            ours, theirs = (torch.load(tmp_path / n / f"fold{fold}.pt", weights_only=True) for n in ("6", "whole"))
            same = (torch.equal(v, ours["model"][k]) for k, v in theirs["model"].items() if isinstance(v, torch.Tensor))
            assert all(same) and ours["model"]["_extra_state"] == theirs["model"]["_extra_state"]

    @pytest.mark.parametrize("continuation", ["exact", "weights"])
    def test_a_lost_checkpoint_costs_nothing_but_time(self, continuation, tmp_path):
        p = problem(continuation=continuation)
        p.evaluate(Job(GROWING, (3,), 5, save=tmp_path / "3"))
        continued = p.evaluate(Job(GROWING, (3, 6), 5, restore=tmp_path / "3"))
        retrained = p.evaluate(Job(GROWING, (3, 6), 5, restore=tmp_path / "gone"))
        assert continued == retrained


class TestSearch:
    def test_static_networks_above_the_limit_are_rejected_without_training(self, tmp_path, monkeypatch):
        small, large = (static_configuration(0.01, [w, w], 2) for w in (8, 40))
        p = problem(searched="static", max_params=10_000)
        trained = []
        train = GrowingConvNets.training
        monkeypatch.setattr(
            GrowingConvNets,
            "training",
            lambda p, job, images: trained.append(job.configuration) or train(p, job, images),
        )
        optimizer = Listed(p, 0, [large, small])
        history = search(p, optimizer, Budget(trials=2), tmp_path / "log.jsonl", seed=0)
        assert [t.status for t in history] == ["rejected", "ok"] and trained == [small]
        assert history.trials[0].metrics["params"] > 10_000 >= history.trials[1].metrics["params"]

    def test_growing_networks_are_feasible_at_their_final_size(self, tmp_path):
        p = problem(max_params=3_000, min_epochs=6)
        history = search(p, Listed(p, 0, [GROWING]), Budget(trials=1), tmp_path / "log.jsonl", seed=0)
        trial = history.trials[0]
        assert p.known(GROWING)["params"] < 2_000 < trial.metrics["params"] <= 3_000 and p.incumbent(history) == trial


def searched(path):
    """Hyperband's rungs of 3 and 6 epochs, so that grown networks are promoted."""
    p = problem(rule={"every": 2, "candidates": 10}, max_params=8_000)
    return search(p, Evolution(p, 0, hyperband=True, eta=2), Budget(trials=5), path, seed=0)


def test_sigkill_in_mid_growth(tmp_path):
    """Killed right after a promoted network grew; the same command again ends as if it had never been interrupted."""
    path = tmp_path / "log.jsonl"
    evaluate, grow = GrowingConvNets.evaluate, Neurogenesis.grow

    def doomed(problem, job):
        if len(job.stages) > 1:
            Neurogenesis.grow = lambda model, *step: grow(model, *step) and os.kill(os.getpid(), signal.SIGKILL)
        return evaluate(problem, job)

    def killed():
        GrowingConvNets.evaluate = doomed
        searched(path)

    process = forked(killed)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    before = path.read_bytes()
    assert before.count(b"\n") >= 3, "the header and a rung of two"
    resumed, whole = searched(path), searched(tmp_path / "whole.jsonl")
    assert decisions(resumed) == decisions(whole) and path.read_bytes().startswith(before)
    assert any(t.parent is not None for t in whole) and len(whole) == 5
    for ours, theirs in zip(resumed, whole, strict=True):
        assert (ours.outputs, ours.curve) == (theirs.outputs, theirs.curve)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"rule": {"evry": 10}}, "rule: 'evry' is unknown; did you mean 'every'"),
        ({"rule": {"conv_threshold": 0.5}}, "rule: .*conv_threshold"),
        ({"rule": {"trigger": "never"}}, "trigger: 'never' is unknown"),
        ({"rule": {"epsilon": 0.1, "every": 0}}, "every: 0"),
        ({"rule": {"max_conv": 7}, "initial_width": 8}, "max_conv: 7 is below the initial width 8"),
        ({"rule": {"max_fc": 3}}, "max_fc: 3 is below the initial width 4"),
        ({"searched": "widths"}, "searched: 'widths' is unknown; choose one of joint"),
        ({"batch_norm": "layer"}, "batch_norm: 'layer'"),
        ({"max_params": 0}, "max_params: 0; give a whole number"),
        ({"folds_used": 6}, "folds_used: 6 of 3"),
    ],
)
def test_refuses_bad_options_by_name(bad, said):
    with pytest.raises(UserError, match=said):
        problem(**bad)


@pytest.mark.parametrize("q", [-0.1, 1.5])
def test_a_threshold_outside_its_range_is_refused(q):
    with pytest.raises(UserError, match=r"conv_threshold: .*; give a number from 0 to 1"):
        problem().evaluate(Job(GROWING | {"conv_trigger_threshold": q}, (3,), 0))


@pytest.mark.parametrize(("searched", "smallest"), [("joint", 1_922), ("static", 1_922), ("hyperparameters", 29_066)])
def test_a_limit_below_the_smallest_network_is_refused(searched, smallest):
    options = {"searched": searched, "initial_width": 8}
    with pytest.raises(UserError, match=f"max_params: 1000 is below the {smallest} of the smallest network"):
        problem(**options, max_params=1_000).check()
    problem(**options, max_params=smallest).check()


@pytest.mark.parametrize(("every", "by"), [(1, 8), (10, 40)])
def test_the_reported_incumbent_reaches_the_limit_about_as_early_as_reported(every, by):
    """The original, on its data: by step 7 when it may grow at every step, by step 30 at every tenth."""
    loaded = registry.load("mnist5k")
    p = problem(initial_width=8, rule={"every": every}, trace_every=1)
    rows = torch.linspace(0, len(loaded.labels) - 1, 100 * by).long()  # one epoch of so many steps
    training = p.training(Job(INCUMBENT, (1,), 0), (loaded.images[rows], loaded.labels[rows]))
    training.run(1)
    assert isinstance(training.model, Neurogenesis)
    params = [row["params"] for row in training.model.trace]
    assert params[2] == 1_922 and 25_000 < params[-1] <= 30_000
    grown = [i for i, (a, b) in enumerate(itertools.pairwise(params), 2) if b > a]
    assert grown[0] == max(4, every) and all(step % every == 0 for step in grown)
