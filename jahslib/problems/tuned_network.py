"""Study 06's problem: tuning of SGD for a given network, and optionally of its choice.

maximise  top1(x)   over   x = (lr, momentum, weight_decay)   of SGD, at a fixed number of epochs

Source: an image-classification project of 2019 on PyTorch and Ax, which searched these three on AlexNet and measured
them on the *test* split. Here `top1` is measured on a stratified part of the training split that is not trained on.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from ConfigSpace import Categorical, ConfigurationSpace, Float, Integer
from ConfigSpace.hyperparameters import Hyperparameter

from jahslib.core.problem import Job, Objective
from jahslib.core.trials import Configuration
from jahslib.errors import Bounds, Share, UserError, bounded, refuse_unknown
from jahslib.extras import extra
from jahslib.models import image_nets
from jahslib.problems.cross_validated import CrossValidated, Images
from jahslib.training.metrics import scores
from jahslib.training.schedules import SCHEDULES
from jahslib.training.trainer import Recipe, Training

with extra("training"):
    import torch
    from torch import nn

# The original's ranges, name -> (lower, upper, logarithmic), but for momentum: its upper bound of 1 never converges.
REPORTED = {"lr": (1e-4, 1.0, True), "momentum": (0.0, 0.999, False), "weight_decay": (1e-6, 1e-4, False)}
WIDE = {"lr": (1e-5, 10.0, True), "momentum": (0.0, 0.999, False), "weight_decay": (1e-8, 1e-1, True)}
RANGES = {"reported": REPORTED, "wide": WIDE}

DEFAULT = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-5}  # the original's, for a training without a search

# A momentum of 1 never forgets a gradient, and diverges.
LEGAL = {"lr": Annotated[float, Bounds(1e-12, 100)], "momentum": Annotated[float, Bounds(0, 0.999999)]}
LEGAL |= {"weight_decay": Share}

JOINT = ("batch_size", "schedule", "network")
BATCH_SIZES = (16, 512)


def check_setting(name: str, value: Any, what: str = "") -> None:
    """Raise `UserError` for a value (`what`, such as "lower bound") with which SGD cannot work."""
    bounded(f"{name}: {what}" if what else name, value, LEGAL[name])


def tuned(name: str, given: Any, default: float, *, log: bool) -> Hyperparameter:
    """Build a hyperparameter of SGD. Raises `UserError` for bounds (lower, upper) with which SGD cannot work."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise UserError(f"bounds: {name} has {given!r}; give (lower, upper)")
    for what, value in zip(("lower bound", "upper bound"), given, strict=True):
        check_setting(name, value, what)
    low, high = map(float, given)
    if not low < high or (log and low == 0):
        raise UserError(f"bounds: {name} has ({low:g}, {high:g}); give lower < upper{', both above 0' if log else ''}")
    return Float(name, (low, high), default=min(max(default, low), high), log=log)


@dataclass
class TunedNetwork(CrossValidated):
    """SGD tuning with one stratified fold of `folds` held out; "test" trains on the whole split.

    Args:
        network: of `jahslib.models.image_nets`, where it is not searched.
        batch_size, schedule, nesterov: of the training, where not searched.
        ranges, bounds: of lr, momentum and weight_decay; other (lower, upper) for some of the three.
        joint: what is searched beside them: any of "batch_size", "schedule" and "network".
        networks: the choices where the network is searched.

    Raises:
        UserError: an unknown name, or bounds with which SGD cannot work.
    """

    data: str = "cifar100"
    min_epochs: int = 20
    max_epochs: int = 20
    folds: int = 5
    folds_used: int = 1
    network: str = "alexnet"
    batch_size: int = 128
    schedule: str = "constant"
    nesterov: bool = False
    ranges: Literal["reported", "wide"] = "reported"
    bounds: dict[str, Any] = field(default_factory=dict)
    joint: tuple[str, ...] = ()
    networks: tuple[str, ...] = image_nets.NETWORKS

    name = "tuned_network"
    objective = Objective("top1", best=1.0, worst=0.0)

    def __post_init__(self):
        super().__post_init__()
        refuse_unknown("network:", (self.network, *self.networks), image_nets.NETWORKS)
        Recipe(self.batch_size, 1.0, "sgd", nesterov=self.nesterov, schedule=self.schedule)  # raises for invalid ones
        self.space  # noqa: B018 (raises for invalid bounds)

    def check(self) -> None:
        """Load the data. Raises `UserError` for images too small for a network."""
        super().check()
        for network in self.networks if "network" in self.joint else (self.network,):
            self.known({"network": network})

    @cached_property
    def space(self) -> ConfigurationSpace:
        refuse_unknown("bounds:", self.bounds, REPORTED)
        refuse_unknown("joint:", self.joint, JOINT)
        made = ConfigurationSpace(name="tuned_network")
        for name, (low, high, log) in RANGES[self.ranges].items():
            made.add(tuned(name, self.bounds.get(name, (low, high)), DEFAULT[name], log=log))
        if "batch_size" in self.joint:
            made.add(Integer("batch_size", BATCH_SIZES, default=128, log=True))
        if "schedule" in self.joint:
            made.add(Categorical("schedule", list(SCHEDULES)))
        if "network" in self.joint:
            if not self.networks:
                raise UserError("networks: none given to choose from; give at least one, or take network out of joint")
            made.add(Categorical("network", list(self.networks)))
        return made

    def network_of(self, configuration: Configuration) -> str:
        """Return the configuration's network, or the fixed one where it is not searched."""
        return configuration.get("network", self.network)

    def known(self, configuration: Configuration) -> dict[str, float]:
        return {"params": float(image_nets.count_parameters(self.network_of(configuration), **self.shape))}

    def recipe(self, configuration: Configuration) -> Recipe:
        """Return a configuration's hyperparameters, or the original's defaults. Raises as `check_setting`."""
        c = DEFAULT | configuration
        for name in DEFAULT:
            check_setting(name, c[name])
        return Recipe(
            batch_size=c.get("batch_size", self.batch_size),
            learning_rate=c["lr"],
            optimizer="sgd",
            weight_decay=c["weight_decay"],
            momentum=c["momentum"],
            nesterov=self.nesterov,
            schedule=c.get("schedule", self.schedule),
        )

    def options(self, configuration: Configuration) -> dict[str, Any]:
        # of 8 x 8 pixels a single one is left for the last stage of a ResNet-18
        return {"drops_single": self.network_of(configuration) == "resnet18" and self.shape["size"] == 8}

    def build(self, configuration: Configuration, generator: torch.Generator) -> nn.Module:
        return image_nets.build(self.network_of(configuration), **self.shape, generator=generator)

    def images(self) -> tuple[Images, Images | None]:
        """Return training and held-out images (the first fold; None on "test") of a final training."""
        train, held_out = self._splits()[0]
        return train, None if self.split == "test" else held_out

    def measure(self, training: Training, logits: torch.Tensor, labels: torch.Tensor, job: Job) -> dict[str, float]:
        return scores(logits, labels, self.classes)
