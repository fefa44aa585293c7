"""Study 03's problems: networks from grammars, trained on five image data sets.

minimise  validation error   over architectures x, and optionally training hyperparameters, at a fixed number of epochs

Source: Schrodi et al., NeurIPS 2023 (arXiv 2211.01842), which takes three of the protocols from NAS-Bench-201 (Dong and
Yang, ICLR 2020). The logarithm of the error is left to the surrogates. Departures: NAS-Bench-201's file with its two
halves of CIFAR-10's training images is not available, so that the halves are drawn; a batch that does not fit into
memory is not divided but fails.
"""

from collections import OrderedDict
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar, Literal, Self

from ConfigSpace import ConfigurationSpace

from jahslib.core.problem import Job, Objective
from jahslib.core.trials import Configuration
from jahslib.data import registry
from jahslib.errors import Bounds, Count, UserError, refuse_unknown
from jahslib.extras import extra
from jahslib.models import nb201
from jahslib.models.layers import Standardise
from jahslib.problems.cross_validated import CrossValidated, Images
from jahslib.problems.tuned_network import check_setting, tuned
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.space import GrammarSpace
from jahslib.spaces.grammars.terms import Term
from jahslib.training import augment, metrics
from jahslib.training.trainer import Recipe, Training

with extra("training"):
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F

SPACES = ("hierarchical", "cell-based", "shared")
NUMERIC = {"lr": (1e-3, 1.0), "weight_decay": (1e-6, 1e-2)}  # searchable training hyperparameters, with default bounds

_NB201: dict[str, Any] = {
    "max_epochs": 200,
    "batch_size": 256,
    "lr": 0.1,
    "weight_decay": 5e-4,
    "nesterov": True,
    "flip": True,
    "bf16": True,
    "validation_share": 0.5,
}
CIFAR10 = {"mean": (125.3, 123.0, 113.9), "std": (63.0, 62.1, 66.7)}
_MNIST = {"mean": (255 * 0.1307,) * 3, "std": (255 * 0.3081,) * 3}

# The source's training protocols, as far as they differ from the defaults of `NB201`.
PROTOCOLS: dict[str, dict[str, Any]] = {
    "nb201_cifar10": _NB201 | CIFAR10 | {"data": "cifar10", "crop": 4},
    "nb201_cifar100": _NB201
    | {"data": "cifar100", "crop": 4, "validation": "test"}
    | {"mean": (129.3, 124.1, 112.4), "std": (68.2, 65.4, 70.4)},
    "nb201_ImageNet16-120": _NB201
    | {"data": "imagenet16-120", "crop": 2, "validation": "test"}
    | {"mean": (122.68, 116.66, 104.01), "std": (63.22, 61.26, 65.09)},
    "nb201_cifarTile": CIFAR10 | {"data": "cifartile-gen", "shuffle": False},
    "nb201_addNIST": _MNIST | {"data": "addnist-gen", "shuffle": False},
}


@dataclass
class NB201(CrossValidated):
    """Networks from a grammar on one fixed split into training, validation and test images.

    A trial is measured on the test images as well. Splits are class-balanced, drawn by `seed`, in an order of which
    every prefix is class-balanced too. On "test" the network is trained on all training images and measured on the test
    images alone.

    Args:
        name: of the objective.
        grammar: one of `SPACES`, or the text of a grammar whose terminals are `nb201.PRIMITIVES`.
        searched: names of `NUMERIC` that are searched beside the architecture.
        bounds: other (lower, upper) for some of these.
        validation, validation_share: validation images are this share of the "train" or of the "test" split.
        n_train, n_val, n_test: use only so many images, the first ones; n_test 0 measures no test error in a search.
        image_size: pixels of a side to which larger images are averaged; None keeps them.
        width: channels of the stem; the network ends with four times as many.
        batch_size, lr, momentum, weight_decay, nesterov, shuffle: of SGD, where not searched. The learning rate
            follows half a cosine that reaches 0 after `max_epochs`.
        flip, crop: augmentation by mirroring, and by random crops after padding with so many pixels.
        mean, std: of each channel, by which images are standardised, in 0..255.
        bf16: bfloat16 autocast on CUDA.

    Raises:
        UserError: an unknown option or an impossible value.
    """

    name: str = "nb201"
    grammar: str = "hierarchical"
    searched: tuple[str, ...] = ()
    bounds: dict[str, Any] = field(default_factory=dict)
    data: str = "addnist-gen"
    min_epochs: int = 64
    max_epochs: int = 64
    validation: Literal["train", "test"] = "train"
    validation_share: Annotated[float, Bounds(0, 1, open=True)] = 0.25
    n_train: Count | None = None
    n_val: Count | None = None
    n_test: Annotated[int, Bounds(0)] | None = None
    image_size: int | None = None
    width: Count = 16
    batch_size: int = 64
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 3e-4
    nesterov: bool = False
    shuffle: bool = True
    flip: bool = False
    crop: Annotated[int, Bounds(0)] = 0
    mean: tuple[float, ...] = (127.5,) * 3
    std: tuple[float, ...] = (63.75,) * 3
    bf16: bool = False
    # The base class's cross-validation is not used here.
    folds: int = field(default=2, init=False)
    folds_used: int = field(default=1, init=False)
    per_class: None = field(default=None, init=False)

    curve_metric = "val_error"
    spaces = SPACES  # names of the grammars whose terms it can build
    protocols = PROTOCOLS
    annealing = "cosine"
    clip: ClassVar[float | None] = None

    @classmethod
    def of(cls, objective: str, **options: Any) -> Self:
        """Build one of `protocols`; `min_epochs` gives its fidelity a range. Raises `UserError` for bad options."""
        refuse_unknown("objective:", [objective], cls.protocols)
        chosen = {"name": objective} | cls.protocols[objective] | options
        refuse_unknown(f"{chosen['name']}: option", chosen, [f.name for f in fields(cls) if f.init])
        return cls(**{"min_epochs": chosen.get("max_epochs", cls.max_epochs)} | chosen)

    def __post_init__(self):
        super().__post_init__()
        self.objective = Objective("test_error" if self.split == "test" else "val_error", best=0.0, worst=1.0)
        if self.grammar not in self.spaces and "->" not in self.grammar:
            known = ", ".join(self.spaces)
            raise UserError(f"grammar: {self.grammar!r} is unknown; choose one of {known}, or give a text")
        if self.n_test == 0 and self.split == "test":
            raise UserError("n_test: 0 images to test on; give at least 1")
        if len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise UserError(f"mean, std: {self.mean}, {self.std}; give one of each a channel, deviations above 0")
        self.recipe({})  # raises for invalid ones

    def check(self) -> None:
        """Load the data. Raises `UserError` for images that the networks cannot take."""
        self.shape  # noqa: B018

    @cached_property
    def space(self) -> GrammarSpace:
        own = self.grammar not in self.spaces
        grammar = Grammar(self.grammar) if own else examples.grammar(self.grammar)
        refuse_unknown("searched:", (*self.searched, *self.bounds), NUMERIC)
        beside = ConfigurationSpace(name="nb201") if self.searched else None
        for name in self.searched:
            bounds = self.bounds.get(name, NUMERIC[name])
            beside.add(tuned(name, bounds, getattr(self, name), log=True))  # pyright: ignore[reportOptionalMemberAccess]
        return GrammarSpace(grammar, beside, name="own" if own else self.grammar)

    @property
    def shape(self) -> dict[str, Any]:
        """Channels, classes and size of the images as they are trained on."""
        loaded = registry.load(self.data)
        _, channels, h, w = loaded.images.shape
        if len(self.mean) != channels:
            raise UserError(f"mean: {len(self.mean)} values for {channels} channels of {self.data}; give one for each")
        if self.image_size is not None:
            if not nb201.SMALLEST <= self.image_size <= min(h, w):
                raise UserError(f"image_size: {self.image_size} of {h} x {w}; give {nb201.SMALLEST} to {min(h, w)}")
            h = w = self.image_size
        return {"channels": channels, "classes": loaded.classes, "size": (h, w)}

    @property
    def ends(self) -> dict[str, int]:
        """Channels and classes alone, for networks that take images of every size."""
        shape = self.shape
        return {name: shape[name] for name in ("channels", "classes")}

    def known(self, configuration: Configuration) -> dict[str, float]:
        """Count the parameters from shapes. Raises `UserError` for a configuration outside the space."""
        return {"params": float(self.count_parameters(self.space.term(configuration)))}

    def count_parameters(self, term: Term) -> int:
        """Count the parameters of a term's network, from shapes alone."""
        return nb201.count_parameters(self.space.grammar, term, width=self.width, **self.shape)

    def network(self, term: Term, generator: torch.Generator) -> nn.Module:
        """Build the network of a term, its weights drawn from a CPU generator."""
        return nb201.build(self.space.grammar, term, width=self.width, **self.shape, generator=generator)

    def recipe(self, configuration: Configuration) -> Recipe:
        """Return the training hyperparameters. Raises `UserError` for values with which SGD cannot work."""
        setting = {"lr": self.lr, "momentum": self.momentum, "weight_decay": self.weight_decay}
        numeric = self.space.numeric(configuration)
        refuse_unknown("configuration: hyperparameter", numeric, setting)
        setting |= numeric
        for name, value in setting.items():
            check_setting(name, value)
        return Recipe(
            batch_size=self.batch_size,
            learning_rate=setting["lr"],
            optimizer="sgd",
            weight_decay=setting["weight_decay"],
            momentum=setting["momentum"],
            nesterov=self.nesterov,
            annealing=self.annealing,
            annealing_epochs=self.max_epochs,
            shuffle=self.shuffle,
            clip=self.clip,
        )

    def build(self, configuration: Configuration, generator: torch.Generator) -> nn.Module:
        standardise = Standardise(torch.tensor(self.mean) / 255, torch.tensor(self.std) / 255)
        network = self.network(self.space.term(configuration), generator)
        return nn.Sequential(OrderedDict(standardise=standardise, network=network))

    def options(self, configuration: Configuration) -> dict[str, Any]:
        augmented = partial(augment.flip_and_crop, pad=self.crop, flip=self.flip) if self.flip or self.crop else None
        return {"augment": augmented, "bf16": self.bf16}

    def measure(self, training: Training, logits: Tensor, labels: Tensor, job: Job) -> dict[str, float]:
        if self.split == "test":
            return {"test_error": _error(logits, labels)}
        measured = {"val_error": _error(logits, labels)}
        if self.n_test != 0:
            images, truth = self.test_images
            measured["test_error"] = _error(training.predict(images).cpu(), truth)
        return measured

    def _curve_point(self, training: Training, held_out: Images, job: Job) -> float:
        return _error(training.predict(held_out[0]).cpu(), held_out[1])

    @property
    def training_images(self) -> Images:
        """Training images of a search or, on "test", the whole training split."""
        if self.split == "test" or self.validation == "test":
            return self._part("train", 0.0, 1.0, self.n_train)
        return self._part("train", 0.0, 1 - self.validation_share, self.n_train)

    @property
    def validation_images(self) -> Images:
        """Validation images of a search."""
        return self._part(self.validation, 1 - self.validation_share, 1.0, self.n_val)

    @property
    def test_images(self) -> Images:
        return self._part("test", 0.0, 1 - self.validation_share if self.validation == "test" else 1.0, self.n_test)

    def _splits(self) -> list[tuple[Images, Images]]:
        return [(self.training_images, self.test_images if self.split == "test" else self.validation_images)]

    def _part(self, split: str, begin: float, end: float, n: int | None) -> Images:
        loaded = registry.load(self.data, split)
        # a random order of the rows in which the classes take turns
        drawn = torch.randperm(len(loaded.labels), generator=torch.Generator().manual_seed(self.seed))
        order = drawn[registry.rank_in_class(loaded.labels[drawn]).argsort(stable=True)]
        rows = order[round(begin * len(order)) : round(end * len(order))][:n]
        return _resized(loaded.images[rows], self.image_size), loaded.labels[rows]


def _resized(images: Tensor, size: int | None) -> Tensor:
    """Average uint8 images (`n x c x h x w`) over areas, to `size x size` pixels."""
    if size is None or images.shape[2:] == (size, size):
        return images
    parts = [
        F.interpolate(part.float(), (size, size), mode="area").round().to(torch.uint8) for part in images.split(5000)
    ]
    return torch.cat(parts)


def _error(logits: Tensor, labels: Tensor) -> float:
    return 1 - metrics.top_k_accuracy(logits, labels, 1)
