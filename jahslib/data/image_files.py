"""Readers of image data sets, each verified by content: IDX, CIFAR, JPEG folders, NPZ.

Every reader takes a split and returns `Read`: images (`n x c x h x w` or in that order of axes, uint8), labels (`n`),
the number of classes and the name of the place (`jahslib.data.places`) of the files.
"""

import hashlib
import io
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from jahslib import paths
from jahslib.data import archives
from jahslib.data.places import obtain, replacing
from jahslib.errors import UserError
from jahslib.extras import extra

Read = tuple[np.ndarray, np.ndarray | Sequence[int], int, str]

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
}

STRIPS_SHA256 = {  # of archives that `strips` reads
    "cifar10_rebuilt.tar": "3528662b793d2b5cfc76494fc2e96de8377a4cc4e1e42a69eae6834676ba53e4",
    "cifar100.tar": "b4d4df49ddc13001b4a96ed53cfc276f2a8492c96606417ea969f2509346458c",
}

RETINAMNIST_URL = "https://zenodo.org/records/10519652/files/retinamnist.npz?download=1"
RETINAMNIST_MD5 = "bd4c0672f1bba3e3a89f0e4e876791e4"


# IDX --------------------------------------------------------------------------------------------------------------


def idx_files(name: str) -> list[str]:
    """List the gzipped files of "mnist" or "fashion_mnist", relative to a place."""
    return [f"{name}/{file}.gz" for file in IDX_SHA256[name]]


def idx(name: str, split: str) -> Read:
    """Read MNIST or Fashion-MNIST."""
    stem = "train" if split == "train" else "t10k"
    word, images = _idx_file(name, f"{stem}-images-idx3-ubyte")
    _, labels = _idx_file(name, f"{stem}-labels-idx1-ubyte")
    return images[:, None], labels, 10, word


def _idx_file(name: str, file: str) -> tuple[str, np.ndarray]:
    """Read one gzipped IDX file as (place, uint8 array), verifying its decompressed bytes."""

    def published() -> tuple[list[str], str]:
        with extra("training"):
            from torchvision import datasets

        official = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}[name]
        md5 = dict(official.resources)[f"{file}.gz"]
        return [f"{mirror}{file}.gz" for mirror in official.mirrors], f"md5:{md5}"

    folders = dict.fromkeys((name.replace("_", "-"), name))  # Debian's package writes fashion-mnist
    word, path = obtain(name, [f"{folder}/{file}.gz" for folder in folders], published=published)
    contents = archives.gunzip(path, replacing(word, name))
    archives.verify(contents, f"sha256:{IDX_SHA256[name][file]}", path.name, replacing(word, name))
    shape = np.frombuffer(contents, dtype=">u4", count=contents[3], offset=4)
    return word, np.frombuffer(contents, dtype=np.uint8, offset=4 + 4 * contents[3]).reshape(shape)


# CIFAR ------------------------------------------------------------------------------------------------------------


def cifar(name: str, split: str) -> Read:
    """Read CIFAR-10 or CIFAR-100 through torchvision, which compares each pickle with its md5 before opening it.

    CIFAR-100 is read from strips (`strips`) where these are at hand.
    """
    with extra("training"):
        from torchvision import datasets

    official = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    expected = f"md5:{official.tgz_md5}"
    files = [official.base_folder, f"{name}.tar", official.filename]
    word, path = obtain(name, files, published=lambda: ([official.url], expected))
    if path.name in STRIPS_SHA256:
        return strips(name, path.name, "", split)
    with tempfile.TemporaryDirectory() as scratch:
        root = path.parent
        if path.name == official.filename:
            root = Path(scratch)
            for member, data in archives.members(archives.read(path, expected, replacing(word, name))):
                paths.write(root / member, data)
        try:
            read = official(root, train=split == "train", download=False)
        except RuntimeError as error:
            raise UserError(f"{name}: {path.name} is incomplete or damaged; {replacing(word, name)}") from error
        return read.data.transpose(0, 3, 1, 2), read.targets, len(read.classes), word


def strips(name: str, file: str, mend: str, split: str) -> Read:
    """Read an archive of lossless pictures, each a row or a column of images of 32 x 32 pixels, and of their labels.

    `SPLIT_000.webp` and so on hold the images in order, `labels.npz` the labels as `y_SPLIT` or `SPLIT_fine`.
    """
    with extra("training"):
        from PIL import Image

    word, path = obtain(name, [file], mend)
    archive = archives.read(path, f"sha256:{STRIPS_SHA256[file]}", f"replace it in {word} with a whole copy")
    contents = {PurePosixPath(member).name: data for member, data in archives.members(archive)}
    pictures = [np.asarray(Image.open(io.BytesIO(contents[n]))) for n in sorted(contents) if n.startswith(f"{split}_")]
    columns = [p if p.shape[1] == 32 else p.reshape(32, -1, 32, 3).swapaxes(0, 1) for p in pictures]
    images = np.concatenate([c.reshape(-1, 32, 32, 3) for c in columns])
    with np.load(io.BytesIO(contents["labels.npz"]), allow_pickle=False) as arrays:
        labels = arrays[f"y_{split}" if f"y_{split}" in arrays else f"{split}_fine"]
    return images.transpose(0, 3, 1, 2), labels, int(labels.max()) + 1, word


# Folders of pictures ----------------------------------------------------------------------------------------------


def folder(name: str, mend: str, split: str) -> Read:
    """Read a tree of JPEG pictures from NAME.tar.gz or from the unpacked folder NAME."""
    with extra("training"):
        from PIL import Image

    word, path = obtain(name, [f"{name}/", f"{name}.tar.gz"], mend)
    expected = PICTURES_SHA256[name]
    if path.is_dir():
        files = ((file.relative_to(path).as_posix(), file.read_bytes()) for file in path.rglob("*.jpg"))
    else:
        mend = f"replace it in {word} with a whole copy"
        files = archives.members(archives.read(path, f"sha256:{expected['archive']}", mend))
    rows, found = _pictures(files, split)
    if found != expected[split]:
        raise UserError(
            f"{name}: the {len(rows)} {split} pictures of {path.name} in {word} are not the known ones: "
            f"expected sha256 {expected[split]}, found {found}; replace the folder by {name}.tar.gz"
        )
    classes, labels = np.unique([folder for folder, _ in rows], return_inverse=True)
    images = np.stack([np.asarray(Image.open(io.BytesIO(contents)).convert("RGB")) for _, contents in rows])
    return images.transpose(0, 3, 1, 2), labels, len(classes), word


def _pictures(files: Iterable[tuple[str, bytes]], split: str) -> tuple[list[tuple[str, bytes]], str]:
    """Select (class, JPEG bytes) of `split`/class/NAME.jpg, in the order of `ImageFolder`; and compute their sha256."""
    rows = []
    for name, contents in files:
        parts = PurePosixPath(name).parts
        if len(parts) >= 3 and parts[-3] == split and parts[-1].endswith(".jpg"):
            rows.append((parts[-2], parts[-1], contents))
    rows.sort()
    hasher = hashlib.sha256()
    for folder, file, contents in rows:
        hasher.update(f"{folder}/{file}\n".encode())
        hasher.update(hashlib.sha256(contents).digest())
    return [(folder, contents) for folder, _, contents in rows], hasher.hexdigest()


# NPZ --------------------------------------------------------------------------------------------------------------


def retinamnist(split: str) -> Read:
    """Read MedMNIST's official file."""
    expected = f"md5:{RETINAMNIST_MD5}"
    word, path = obtain("retinamnist", ["retinamnist.npz"], published=lambda: ([RETINAMNIST_URL], expected))
    archives.read(path, expected, replacing(word, "retinamnist"))
    return _npz("retinamnist", word, path, split, 5)


def imagenet(split: str) -> Read:
    """Read ImageNet16-120 from the file that the user builds (data/README.md): no script may download ImageNet."""
    name, file, shape = "imagenet16-120", "imagenet16-120.npz", ({"train": 151_700, "test": 6_000}[split], 3, 16, 16)
    mend = "accept the terms at image-net.org, download its 16x16 pictures and build the file as data/README.md says"
    word, path = obtain(name, [file], mend)
    images, labels, classes, word = _npz(name, word, path, split, 120)
    if images.shape != shape or len(labels) != len(images) or np.unique(labels).tolist() != list(range(classes)):
        raise UserError(
            f"{name}: {file} in {word} has {split} images of shape {images.shape} and {len(np.unique(labels))} "
            f"classes, not {shape} and {classes}; build it again as data/README.md says"
        )
    return images, labels, classes, word


def _npz(name: str, word: str, path: Path, split: str, classes: int) -> Read:
    """Read MedMNIST's arrays SPLIT_images (`n x h x w x 3`, uint8) and SPLIT_labels (`n` or `n x 1`)."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"].reshape(-1)
    except (KeyError, OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{name}: {path.name} in {word} is damaged or lacks {split} arrays; replace it") from error
    return images.transpose(0, 3, 1, 2), labels, classes, word
