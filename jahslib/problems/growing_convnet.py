"""The problem of studies 01 and 02: growing or static ConvNets for small images.

maximise  top1(x)   subject to   params(x) <= max_params
over learning rate, depth and growth thresholds (or, for static networks, widths), with training epochs as fidelity.

Source: L. Berg, "BOHB over Growing ConvNets", AutoML 2022 Student Conference. Fixed are batches of 100 images, kernels
of 3 pixels, Adam and cross-entropy.
"""

from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal

from ConfigSpace import ConfigurationSpace, Float, GreaterThanCondition, Integer

from jahslib.core.problem import Constraint, Job, Objective
from jahslib.core.trials import Configuration
from jahslib.errors import Bounds, Count, UserError, refuse_unknown
from jahslib.extras import extra
from jahslib.models.growing.convnet import BatchNormKind, GrowingConvNet
from jahslib.models.growing.neurogenesis import GrowthRule, Neurogenesis
from jahslib.problems.cross_validated import CrossValidated
from jahslib.training.metrics import scores
from jahslib.training.trainer import Recipe, Training

with extra("training"):
    import torch
    from torch import nn

Searched = Literal["joint", "north", "static", "hyperparameters", "architecture"]

BATCH_SIZE = 100
MOST_CONV, MOST_FC = 4, 2
LEARNING_RATE = 0.01  # where it is not searched
BASELINE_WIDTHS = (16, 32, 64)
BASELINE = {"learning_rate_init": LEARNING_RATE, **{f"n_channels_conv_{i}": w for i, w in enumerate(BASELINE_WIDTHS)}}

# The original's reported incumbents. Of the static network it prints three widths and 26.2 thousand parameters, which a
# fourth convolution of 19 gives; its learning rate is not reported.
INCUMBENT = {
    "learning_rate_init": 0.0125,
    "n_conv_layers": 4,
    "n_fc_layers": 0,
    "conv_trigger_threshold": 0.104,
}
INCUMBENT_STATIC = {
    "learning_rate_init": LEARNING_RATE,
    **{f"n_channels_conv_{i}": w for i, w in enumerate((14, 34, 45, 19))},
}


def space(searched: Searched = "joint", most_conv: int = MOST_CONV) -> ConfigurationSpace:
    """Build one of the search spaces for networks of at most `most_conv` convolutions (3 or 4).

    They share one vocabulary:
    - "joint": learning rate, depths and the growth thresholds q of convolutions and fully connected layers (reported);
    - "north": the same with one threshold gamma of NORTH-Select for all layers (the original's option `--paper`);
    - "static": learning rate, depths and a width in [8, 128] for each layer, logarithmic (the scale is not reported);
    - "hyperparameters": the learning rate alone, of the baseline network 16-32-64;
    - "architecture": "joint" without the learning rate, which stays at .01.
    """
    made = ConfigurationSpace(name=f"growing_convnet_{searched}")
    if searched != "architecture":
        made.add(Float("learning_rate_init", (1e-4, 5e-2), default=LEARNING_RATE, log=True))
    if searched == "hyperparameters":
        return made
    n_conv = Integer("n_conv_layers", (2, most_conv), default=3)
    n_fc = Integer("n_fc_layers", (0, MOST_FC), default=0)
    made.add(n_conv, n_fc)
    if searched == "north":
        made.add(Float("trigger_threshold", (0.7, 0.99), default=0.8))
    elif searched == "static":
        for kind, count in (("conv", n_conv), ("fc", n_fc)):
            for i in range(count.upper):
                width = Integer(f"n_channels_{kind}_{i}", (8, 128), default=16, log=True)
                made.add(width)
                if i >= count.lower:
                    made.add(GreaterThanCondition(width, count, i))
    else:
        made.add(Float("conv_trigger_threshold", (0.0, 1.0), default=0.8))
        fc = Float("fc_trigger_threshold", (0.0, 1.0), default=0.4)
        made.add(fc, GreaterThanCondition(fc, n_fc, 0))
    return made


def grows(configuration: Configuration) -> bool:
    """Tell whether a configuration is of a growing network: one with a threshold."""
    return any(name.endswith("trigger_threshold") for name in configuration)


def widths(configuration: Configuration, initial: int) -> tuple[list[int], list[int]]:
    """Return the (initial) widths of the convolutions and of the fully connected layers.

    Growing networks begin with `initial` neurons in each. Without depths and thresholds the given widths determine the
    depth; with nothing given it is the baseline.
    """
    if grows(configuration):
        return [initial] * configuration.get("n_conv_layers", 3), [initial] * configuration.get("n_fc_layers", 0)
    conv, fc = (
        [configuration[name] for i in range(most) if (name := f"n_channels_{kind}_{i}") in configuration]
        for kind, most in (("conv", MOST_CONV), ("fc", MOST_FC))
    )
    return (conv, fc) if conv else (list(BASELINE_WIDTHS), [])


def static_configuration(learning_rate: float, layer_widths: list[int], n_conv: int) -> Configuration:
    """Build the configuration of a static network with these widths, convolutions first."""
    conv, fc = layer_widths[:n_conv], layer_widths[n_conv:]
    named = {"learning_rate_init": learning_rate, "n_conv_layers": len(conv), "n_fc_layers": len(fc)}
    named |= {f"n_channels_conv_{i}": width for i, width in enumerate(conv)}
    return named | {f"n_channels_fc_{i}": width for i, width in enumerate(fc)}


@dataclass
class GrowingConvNets(CrossValidated):
    """Growing or static ConvNets on three stratified folds of seed 42, as in the original.

    Every convolution halves the image, so that for images under 16 pixels the space has no fourth one.

    Args:
        searched: which `space`.
        max_params: limit on weights and biases (batch normalisation not counted); None omits it.
        initial_width: initial neurons in each layer of a growing network.
        rule: options of `jahslib.models.growing.neurogenesis.GrowthRule` except the thresholds and `max_params`.
        batch_norm: see `jahslib.models.growing.convnet.GrowingConvNet`.
        trace_every: log ranks and widths every so many steps, with the batch's loss and accuracy; 0 logs none.
    """

    data: str = "fashion_mnist"
    seed: int = 42
    min_epochs: int = 3
    max_epochs: int = 10
    searched: Searched = "joint"
    max_params: Count | None = 30_000
    initial_width: Count = 8
    rule: dict[str, Any] = field(default_factory=dict)
    batch_norm: BatchNormKind = "batch"
    trace_every: Annotated[int, Bounds(0)] = 0

    name = "growing_convnet"
    objective = Objective("top1", best=1.0, worst=0.0)

    def __post_init__(self):
        super().__post_init__()
        self.constraints = () if self.max_params is None else (Constraint("params", "<=", self.max_params),)
        rule = self.growth_rule({"trigger_threshold": 0.8})  # raises for unknown options
        for name in ("max_conv", "max_fc"):
            if (most := getattr(rule, name)) < self.initial_width:
                raise UserError(f"{name}: {most} is below the initial width {self.initial_width}; raise it")

    def check(self) -> None:
        """Load the data. Raises `UserError` if `max_params` or the size of images admit no network of the space."""
        super().check()
        depths = [{"n_conv_layers": c, "conv_trigger_threshold": 1.0} for c in range(2, self.most_conv + 1)]
        if self.searched == "static":
            depths = [static_configuration(LEARNING_RATE, [8] * c, c) for c in range(2, self.most_conv + 1)]
        elif self.searched == "hyperparameters":
            depths = [BASELINE]
        smallest = min(self.known(d)["params"] for d in depths)
        if self.max_params is not None and smallest > self.max_params:
            raise UserError(
                f"max_params: {self.max_params} is below the {smallest:g} of the smallest network; raise it"
            )

    def check_configuration(self, configuration: Configuration) -> None:
        """Load the data. Raises `UserError` if the images are too small for a configuration."""
        conv, _ = widths(configuration, self.initial_width)
        if len(conv) > self.most_conv:
            raise UserError(
                f"data: {len(conv)} convolutions halve the {self.shape['size']}-pixel images of {self.data} to "
                f"nothing; take images of at least {1 << len(conv)} pixels"
            )

    @property
    def most_conv(self) -> int:
        """Largest number of convolutions for the image size. Raises `UserError` for fewer than 3."""
        size = self.shape["size"]
        if size < 8:
            raise UserError(f"data: images of {size} pixels in {self.data} are too small; take at least 8 pixels")
        return min(MOST_CONV, size.bit_length() - 1)

    @cached_property
    def space(self) -> ConfigurationSpace:
        return space(self.searched, self.most_conv)

    def known(self, configuration: Configuration) -> dict[str, float]:
        """Count the parameters before training: of a growing network, which keeps to the limit, the initial ones."""
        conv, fc = widths(configuration, self.initial_width)
        return {"params": _count(tuple(conv), tuple(fc), **self.shape)}

    def growth_rule(self, configuration: Configuration) -> GrowthRule:
        """Build the growth rule of a configuration. Raises `UserError`: an unknown option in `rule`."""
        given = {}
        for kind in ("conv", "fc"):
            for name in ("trigger_threshold", f"{kind}_trigger_threshold"):
                if name in configuration:
                    given[f"{kind}_threshold"] = configuration[name]
        own = {"max_params", "conv_threshold", "fc_threshold"}
        refuse_unknown("rule:", self.rule, set(asdict(GrowthRule())) - own)
        return GrowthRule(**self.rule, **given, max_params=self.max_params)

    def describe(self) -> dict[str, Any]:
        """Describe the problem, and what NORTH's trigger compares with: in old logs also with the present step."""
        compared = {} if self.rule.get("trigger", "threshold") == "threshold" else {"compared_with": "steps before"}
        return super().describe() | compared

    def build(self, configuration: Configuration, generator: torch.Generator) -> nn.Module:
        conv, fc = widths(configuration, self.initial_width)
        net = GrowingConvNet(conv, fc, **self.shape, batch_norm=self.batch_norm, generator=generator)
        if not self._measures(configuration):
            return net
        if grows(configuration):
            rule = self.growth_rule(configuration)
        else:  # one by which the network is measured and never grows
            rule = GrowthRule(conv_threshold=1.0, fc_threshold=1.0, max_conv=max(conv), max_fc=max(fc, default=1))
        return Neurogenesis(net, rule, generator=generator, trace_every=self.trace_every)

    def recipe(self, configuration: Configuration) -> Recipe:
        return Recipe(BATCH_SIZE, configuration.get("learning_rate_init", LEARNING_RATE))

    def options(self, configuration: Configuration) -> dict[str, Any]:
        grow = (lambda model, *results: model.grow(*results)) if self._measures(configuration) else None
        return {"after_step": grow, "evaluation_batch": BATCH_SIZE}

    def _measures(self, configuration: Configuration) -> bool:
        return grows(configuration) or self.trace_every > 0

    def measure(self, training: Training, logits: torch.Tensor, labels: torch.Tensor, job: Job) -> dict[str, float]:
        return scores(logits, labels, self.classes) | {"params": float(_net(training).count_parameters())}

    def note(self, training: Training, logits: torch.Tensor, measured: dict[str, float]) -> dict[str, Any]:
        net = _net(training)
        noted: dict[str, Any] = {"widths": net.widths, "n_conv": net.n_conv}
        noted |= {name: measured[name] for name in ("top1", "params")}
        if isinstance(training.model, Neurogenesis) and self.trace_every:
            trace = training.model.trace
            noted["trace"] = {name: [round(row[name], 4) for row in trace] for name in (trace[0] if trace else {})}
        return noted

    def outputs(self, notes: list[dict[str, Any]]) -> dict[str, Any]:
        return {"folds": notes}


def _net(training: Training) -> GrowingConvNet:
    model = training.model
    net = model.net if isinstance(model, Neurogenesis) else model
    assert isinstance(net, GrowingConvNet)
    return net


@lru_cache(maxsize=4096)
def _count(conv: tuple[int, ...], fc: tuple[int, ...], channels: int, classes: int, size: int) -> float:
    inputs, total = channels, 0
    for width in conv:
        inputs, total = width, total + width * (9 * inputs + 1)
    inputs *= (size >> len(conv)) ** 2
    for width in (*fc, classes):
        inputs, total = width, total + width * (inputs + 1)
    return float(total)
