"""Rules for when, where and how a ConvNet grows during training.

After an optimizer step every hidden layer, last first, compares the rank of its activations in that step's forward pass
with its width, and gains neurons when the rank shows that its capacity is used.

[Maile22] Maile, Rachelson, Luga, Wilson, "When, where, and how to add new neurons to ANNs", AutoML 2022: NORTH.
[Berg22] L. Berg, "BOHB over Growing ConvNets", AutoML 2022 Student Conference: the threshold trigger.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from jahslib.errors import Bounds, Count, Share, UserError, refuse_illegal
from jahslib.models.growing import ranks
from jahslib.models.growing.candidates import INITIALISATIONS
from jahslib.models.growing.convnet import GrowingConvNet

DIGITS = 6  # of a number of neurons, so that rounding errors near a whole number do not change it


@dataclass(frozen=True)
class GrowthRule:
    """How a network grows; the defaults are [Berg22]'s.

    Args:
        trigger: "threshold": a layer of n neurons gains ceil((r - q) n), where r is the moving average of rank / n and
            q its threshold, and then holds off until the average has not fallen for three steps ([Berg22] equation 4).
            "north": it gains floor(n (r - q r_0)), r_0 the largest r of the steps before (at the first step r itself),
            at every step ([Berg22]'s NORTH-Select; [Maile22] section 3). "weight": as "north", with r the rank of the
            incoming weights instead of the activations.
        measure: "effective" rank, "numerical" rank, or the orthogonality "gap", for which n (1 - gap) stands for the
            rank.
        conv_threshold, fc_threshold: q in [0, 1] (gamma for the other triggers: .9 in [Berg22], .97 or .9 in
            [Maile22]).
        epsilon: a singular value above it counts for the numerical rank.
        initialisation: "select", "random", "pre" or "weight"; see `jahslib.models.growing.candidates`.
        every: steps from one growth to the next; triggers are updated at each step. The original grows every 10th step
            in its experiments but, by an oversight, at every step in its search.
        candidates: random neurons that "select" and "pre" draw beyond those needed.
        max_conv, max_fc: largest width of a convolution and of a fully connected layer.
        max_params: growth keeps the number of weights and biases at or under it.
    """

    trigger: Literal["threshold", "north", "weight"] = "threshold"
    measure: Literal["effective", "numerical", "gap"] = "effective"
    conv_threshold: Share = 0.8
    fc_threshold: Share = 0.4
    epsilon: float = 0.1
    initialisation: Literal["select", "random", "pre", "weight"] = "select"
    every: Count = 10
    candidates: Annotated[int, Bounds(0)] = 100
    max_conv: Count = 128
    max_fc: Count = 1024
    max_params: int | None = None

    def __post_init__(self):
        refuse_illegal(self, "GrowthRule: ")


@dataclass
class _Threshold:
    """[Berg22]'s trigger: the state of one layer."""

    threshold: float
    average: float = math.nan
    recent: tuple[float, ...] = ()
    holds: bool = True

    DECAY, PATIENCE = 0.9, 4

    def __call__(self, r: float, n: int, room: int) -> int:
        before = self.threshold if math.isnan(self.average) else self.average
        self.average = self.DECAY * before + (1 - self.DECAY) * r
        self.recent = (*self.recent, self.average)[-self.PATIENCE :]
        if len(self.recent) == self.PATIENCE and self.average >= max(self.recent):
            self.holds = False
        if self.holds:
            return 0
        wanted = min(room, math.ceil(round((self.average - self.threshold) * n, DIGITS)))
        self.holds = wanted > 0
        return max(0, wanted)


@dataclass
class _North:
    """NORTH's trigger: the state of one layer."""

    threshold: float
    average: float = math.nan
    largest: float = math.nan

    def __call__(self, r: float, n: int, room: int) -> int:
        before = r if math.isnan(self.largest) else self.largest
        self.average, self.largest = r, max(before, r)
        return max(0, min(room, math.floor(round(n * (r - self.threshold * before), DIGITS))))


class Neurogenesis(nn.Module):
    """A ConvNet that grows by a rule; call `grow` after each optimizer step.

    `generator` draws the candidates; a `Training` replaces it by its own on the network's device. The triggers' state
    is part of `state_dict`, so a restored network continues to grow as if never interrupted.

    Args:
        trace_every: record ranks, averages and widths in `trace` every so many steps, with the batch's loss and
            accuracy if `grow` is given them; 0 records none.

    Raises:
        UserError: a layer is wider than the rule admits, or the network larger than `max_params`, from the start.
    """

    def __init__(self, net: GrowingConvNet, rule: GrowthRule, *, generator: torch.Generator, trace_every: int = 0):
        super().__init__()
        self.net, self.rule, self.generator, self.trace_every = net, rule, generator, trace_every
        for i, width in enumerate(net.widths):
            if width > self._largest(i):
                kind = "max_conv" if net.blocks[i].is_conv else "max_fc"
                raise UserError(f"{kind}: {self._largest(i)} is below the initial width {width}; raise it")
        smallest = net.count_parameters()
        if rule.max_params is not None and smallest > rule.max_params:
            raise UserError(
                f"max_params: {rule.max_params} is below the {smallest} of the network before growth; raise it"
            )
        kind = _Threshold if rule.trigger == "threshold" else _North
        self.triggers = [kind(rule.conv_threshold if b.is_conv else rule.fc_threshold) for b in net.blocks]
        self.steps = 0
        self.trace: list[dict[str, float]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.net.capturing = self.training
        return self.net(x)

    @torch.no_grad()
    def grow(self, logits: Tensor | None = None, labels: Tensor | None = None, loss: Tensor | None = None) -> int:
        """Grow by the activations of the last training pass; returns the number of neurons added.

        The trace takes that pass's logits (`b x classes`), labels (`b`) and loss (a scalar). Raises `UserError` if
        there was no training pass since the last call.
        """
        captured, self.net.captured = self.net.captured, []
        if not captured:
            raise UserError("grow: no activations to look at; call it once after each forward pass in training")
        self.steps += 1
        added, row = 0, {"step": float(self.steps)}
        traced = bool(self.trace_every) and self.steps % self.trace_every == 0
        grows = self.steps % self.rule.every == 0
        may_grow = (b.width < self._largest(i) and self._affordable(i) for i, b in enumerate(self.net.blocks))
        if not self.trace_every and not any(may_grow):  # nor ever again, which makes measuring needless
            return 0
        for i in reversed(range(len(self.net.blocks))):
            x, output = captured[i], captured[i + 1].float()
            n = self.net.blocks[i].width
            r = self._relative_rank(i, output, row if traced else None)
            trigger = self.triggers[i]
            wanted = trigger(r, n, self._largest(i) - n)
            if traced:
                row |= {f"average_{i}": trigger.average, f"width_{i}": n}
            if grows and wanted:
                added += self._add(i, x, output, min(wanted, self._affordable(i)))
        if traced:
            row["params"] = float(self.net.count_parameters())
            if logits is not None and labels is not None and loss is not None:
                right = (logits.argmax(1) == labels).double().mean()
                row |= {"train_acc": right.item(), "train_loss": loss.item()}  # the original's names
            self.trace.append(row)
        return added

    def _relative_rank(self, i: int, output: Tensor, row: dict[str, float] | None) -> float:
        """Compute rank / n by the rule's measure; store both activation ranks in `row`, if given."""
        rule, block = self.rule, self.net.blocks[i]
        n = block.width
        samples, s = output.numel() // n, None
        if row is not None or rule.trigger != "weight":
            s = ranks.activation_singular_values(output)
        if row is not None:
            row |= {f"numerical_{i}": ranks.numerical_rank(s, rule.epsilon), f"effective_{i}": ranks.effective_rank(s)}
        if rule.trigger == "weight":
            incoming = block.layer.weight.flatten(1)
            samples = incoming.shape[1]
            s = ranks.singular_values((incoming / math.sqrt(samples)).T)
        if rule.measure == "effective":
            return ranks.effective_rank(s) / n
        if rule.measure == "numerical":
            return ranks.numerical_rank(s, rule.epsilon) / n
        return 1 - ranks.orthogonality_gap(s, samples)

    def _add(self, i: int, x: Tensor, output: Tensor, count: int) -> int:
        if count <= 0:
            return 0
        block = self.net.blocks[i]
        x = x.to(block.layer.weight.dtype)
        x = x if block.is_conv else x.flatten(1)
        make = INITIALISATIONS[self.rule.initialisation]
        weight, bias = make(block, x, output, count, self.rule.candidates, self.generator)
        mean, var = block.statistics(x, weight, bias)
        self.net.add_neurons(i, weight, bias, mean, var)
        return count

    def _largest(self, i: int) -> int:
        return self.rule.max_conv if self.net.blocks[i].is_conv else self.rule.max_fc

    def _affordable(self, i: int) -> int:
        """Estimate how many neurons layer i can gain under `max_params`, as [Berg22]'s code; at most what they cost."""
        limit = self.rule.max_params
        if limit is None:
            return self._largest(i)
        counts = self.net.layer_parameters()
        spare, width = limit - sum(counts), self.net.blocks[i].width
        estimated = max(0, math.floor(spare * width / (counts[i] + counts[i + 1])))
        return min(estimated, spare // self._price(i))

    def _price(self, i: int) -> int:
        """Count the parameters that one more neuron in layer i adds, outgoing weights included."""
        following, inputs = self.net.following(i)
        return self.net.blocks[i].layer.weight[0].numel() + 1 + following.weight[:, 0].numel() * inputs

    def get_extra_state(self) -> dict[str, Any]:
        return {"steps": self.steps, "triggers": [dict(vars(t)) for t in self.triggers], "trace": list(self.trace)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.steps, self.trace = state["steps"], list(state["trace"])
        # `load_state_dict` raises later for a network of another depth.
        for trigger, values in zip(self.triggers, state["triggers"], strict=False):
            vars(trigger).update(values)
