"""Image files: what they hold, checked by content, from wherever they lie."""

import gzip
import hashlib
import io
import pickle
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from jahslib.data import archives, image_files, registry
from jahslib.errors import UserError


def digest(path, algorithm="sha256"):
    return hashlib.new(algorithm, path.read_bytes(), usedforsecurity=False).hexdigest()


# IDX --------------------------------------------------------------------------------------------------------------


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


IMAGES = np.arange(4 * 28 * 28).reshape(4, 28, 28) % 251
LABELS = np.array([3, 1, 4, 1])


@pytest.fixture
def tiny_idx(offline, monkeypatch):
    """Gzipped IDX bytes by file name, pinned as if they were Fashion-MNIST's."""
    files = {f"{stem}-images-idx3-ubyte": idx(IMAGES) for stem in ("train", "t10k")}
    files |= {f"{stem}-labels-idx1-ubyte": idx(LABELS) for stem in ("train", "t10k")}
    pins = {file: hashlib.sha256(contents).hexdigest() for file, contents in files.items()}
    monkeypatch.setitem(image_files.IDX_SHA256, "fashion_mnist", pins)
    return {f"{file}.gz": gzip.compress(contents) for file, contents in files.items()}


def put(folder, files):
    folder.mkdir(parents=True)
    for name, contents in files.items():
        (folder / name).write_bytes(contents)


def test_idx_is_read_from_the_first_place_that_has_it(offline, tiny_idx, tmp_path, monkeypatch):
    put(tmp_path / "system" / "fashion-mnist", tiny_idx)  # as Debian's package names it
    got = registry.load("fashion_mnist", "test")
    assert got.source == "system" and got.name == "fashion_mnist" and got.classes == 10
    assert np.array_equal(got.images.numpy(), IMAGES[:, None]) and got.labels.tolist() == LABELS.tolist()
    put(offline / "data" / "fashion_mnist", tiny_idx)
    assert registry.load("fashion_mnist").source == "data/"
    put(tmp_path / "mine" / "fashion_mnist", tiny_idx)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAHSLIB_DATA", "mine")  # relative to the current directory
    assert registry.load("fashion_mnist").source == "JAHSLIB_DATA"


def test_idx_is_checked_by_content_not_by_gzip_header(offline, tiny_idx):
    recompressed = {name: gzip.compress(gzip.decompress(b), 1, mtime=7) for name, b in tiny_idx.items()}
    assert all(recompressed[name] != tiny_idx[name] for name in tiny_idx)
    put(offline / "data" / "fashion_mnist", recompressed)
    assert len(registry.load("fashion_mnist").images) == 4


def test_idx_with_other_contents_or_cut_short_is_refused(offline, tiny_idx):
    folder = offline / "data" / "fashion_mnist"
    put(folder, tiny_idx)
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(IMAGES + 1)))
    expected = image_files.IDX_SHA256["fashion_mnist"]["train-images-idx3-ubyte"]
    with pytest.raises(UserError, match=f"expected sha256 {expected}, found .*; remove it from data/, then: python -m"):
        registry.load("fashion_mnist")
    path.write_bytes(tiny_idx[path.name][:-9])
    with pytest.raises(
        UserError, match=r"train-images-idx3-ubyte\.gz is truncated .*; remove it from data/, then: python -m"
    ):
        registry.load("fashion_mnist")


def test_only_the_missing_file_is_downloaded_with_torchvisions_md5(offline, tiny_idx, monkeypatch):
    calls = []

    def fake(urls, expected, target, timeout=15.0):
        calls.append((urls, expected, target))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(tiny_idx[target.name])

    monkeypatch.setattr(archives, "download", fake)
    put(offline / "data" / "fashion_mnist", {k: v for k, v in tiny_idx.items() if k.startswith("train-images")})
    assert registry.load("fashion_mnist").source == "data/"
    (urls, expected, target) = calls.pop()
    assert not calls
    assert urls == ["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz"]
    assert expected == "md5:25c81989df183df01b3e8a0aad5dffbe"
    assert target == offline / "data" / "fashion_mnist" / "train-labels-idx1-ubyte.gz"
    assert registry.load("fashion_mnist", "test").source == "download"


# CIFAR, RetinaMNIST, ImageNet -------------------------------------------------------------------------------------


def test_cifar_is_verified_before_torchvision_reads_it(offline, monkeypatch):
    from torchvision.datasets import CIFAR10

    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (2, 3072), dtype=np.uint8) for _ in range(2))
    files = {
        "data_batch_1": pickle.dumps({"data": train, "labels": [7, 2]}),
        "test_batch": pickle.dumps({"data": test, "labels": [1, 0]}),
        "batches.meta": pickle.dumps({"label_names": [str(c) for c in range(10)]}),
    }
    md5 = {name: hashlib.md5(contents, usedforsecurity=False).hexdigest() for name, contents in files.items()}
    archive = offline / "data" / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as out:
        for name, contents in files.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(contents)
            out.addfile(info, io.BytesIO(contents))
    with pytest.raises(UserError, match=f"expected md5 {CIFAR10.tgz_md5}, found .*; remove it from data/, then"):
        registry.load("cifar10")
    monkeypatch.setattr(CIFAR10, "tgz_md5", digest(archive, "md5"))
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", md5["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5["batches.meta"]})
    got = registry.load("cifar10")
    assert np.array_equal(got.images.numpy(), train.reshape(2, 3, 32, 32))
    assert got.labels.tolist() == [7, 2] and got.classes == 10 and got.source == "data/"
    assert [p.name for p in (offline / "data").iterdir()] == [archive.name]  # unpacked elsewhere, and gone
    # an unpacked folder is taken as well, each of its files checked
    shutil.unpack_archive(archive, offline / "data")
    archive.unlink()
    assert np.array_equal(registry.load("cifar10", "test").images.numpy(), test.reshape(2, 3, 32, 32))
    (offline / "data" / "cifar-10-batches-py" / "test_batch").write_bytes(b"other")
    registry._load.cache_clear()
    with pytest.raises(UserError, match="cifar-10-batches-py is incomplete or damaged"):
        registry.load("cifar10")


@pytest.mark.parametrize(("name", "label"), [("cifar10-rebuilt", "y_{}"), ("cifar100", "{}_fine")])
def test_strips_give_their_images_in_order_and_are_verified(offline, monkeypatch, name, label):
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    row, column = images[:3].swapaxes(0, 1).reshape(32, 96, 3), images[3:].reshape(96, 32, 3)
    file = f"{name.replace('-', '_')}.tar"
    path = offline / "data" / file
    with tarfile.open(path, "w") as archive:

        def add(name, write):
            stream = io.BytesIO()
            write(stream)
            member = tarfile.TarInfo(f"./{name}")
            member.size = stream.tell()
            archive.addfile(member, io.BytesIO(stream.getvalue()))

        for member, strip in {"test_001.webp": column, "test_000.webp": row}.items():
            add(member, lambda stream, strip=strip: Image.fromarray(strip).save(stream, "webp", lossless=True))
        add("labels.npz", lambda stream: np.savez(stream, **{label.format("test"): np.arange(6, dtype=np.uint8)}))
    with pytest.raises(UserError, match=f"{file} .* replace it in data/ with a whole copy"):
        registry.load(name, "test")
    monkeypatch.setitem(image_files.STRIPS_SHA256, file, digest(path))
    got = registry.load(name, "test")
    assert np.array_equal(got.images.permute(0, 2, 3, 1), images)
    assert got.labels.tolist() == list(range(6)) and got.classes == 6


def npz(path, splits, n=5, size=28, classes=5):
    images = np.arange(n * size * size * 3).reshape(n, size, size, 3).astype(np.uint8)
    labels = np.arange(n).reshape(-1, 1) % classes
    np.savez(path, **{f"{s}_images": images for s in splits}, **{f"{s}_labels": labels for s in splits})
    return images, labels


def test_retinamnist_is_the_published_file_or_nothing(offline, monkeypatch):
    path = offline / "data" / "retinamnist.npz"
    images, labels = npz(path, registry.TRAIN_VAL_TEST)
    with pytest.raises(UserError, match=f"expected md5 {image_files.RETINAMNIST_MD5}, found "):
        registry.load("retinamnist", "val")
    monkeypatch.setattr(image_files, "RETINAMNIST_MD5", digest(path, "md5"))
    got = registry.load("retinamnist", "val")
    assert np.array_equal(got.images.numpy(), images.transpose(0, 3, 1, 2))
    assert got.labels.tolist() == labels[:, 0].tolist() and got.classes == 5


def test_an_npz_with_pickled_objects_is_refused(offline, monkeypatch):
    path = offline / "data" / "retinamnist.npz"
    np.savez(path, train_images=np.array([{}], dtype=object), train_labels=np.zeros(1))
    monkeypatch.setattr(image_files, "RETINAMNIST_MD5", digest(path, "md5"))
    with pytest.raises(UserError, match=r"retinamnist\.npz in data/ is damaged or lacks train arrays"):
        registry.load("retinamnist")


def test_imagenet_of_another_size_is_refused_and_the_right_one_loads(offline):
    path = offline / "data" / "imagenet16-120.npz"
    npz(path, registry.TRAIN_TEST, n=240, size=16, classes=120)
    with pytest.raises(UserError, match=r"shape \(240, 3, 16, 16\) and 120 classes, not \(6000, 3, 16, 16\)"):
        registry.load("imagenet16-120", "test")
    npz(path, registry.TRAIN_TEST, n=6000, size=16, classes=120)
    assert registry.load("imagenet16-120", "test").labels.bincount().tolist() == [50] * 120


# Folders of pictures ----------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_flowers(offline, monkeypatch):
    """micro17flower's layout with one flat-coloured picture a class (grey level 10 * class), pinned as the real one."""

    def picture(level):
        out = io.BytesIO()
        Image.new("RGB", (16, 16), (level,) * 3).save(out, "JPEG", quality=100)
        return out.getvalue()

    files = {
        f"micro17flower/{split}/{k}/image_{k}.jpg": picture(10 * k) for split in ("train", "test") for k in range(1, 18)
    }
    path = offline / "data" / "micro17flower.tar.gz"
    with tarfile.open(path, "w:gz") as out:
        for name, contents in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(contents)
            out.addfile(info, io.BytesIO(contents))
    pins = {split: image_files._pictures(files.items(), split)[1] for split in ("train", "test")}
    monkeypatch.setitem(image_files.PICTURES_SHA256, "micro17flower", {"archive": digest(path), **pins})
    return path


def test_flower_classes_follow_string_sorted_folder_names(tiny_flowers):
    got = registry.load("micro17flower")
    assert got.labels.tolist() == list(range(17)) and got.classes == 17
    assert (got.images[:, 0, 0, 0] / 10).round().int().tolist() == [1, *range(10, 18), *range(2, 10)]


def test_the_folder_and_the_archive_give_the_same_data(offline, tiny_flowers):
    digest = registry.load("micro17flower", "test").digest()
    assert [p.name for p in (offline / "data").iterdir()] == [tiny_flowers.name]  # read in memory
    shutil.unpack_archive(tiny_flowers, offline / "data")
    tiny_flowers.unlink()
    registry._load.cache_clear()
    assert registry.load("micro17flower", "test").digest() == digest
    next((offline / "data" / "micro17flower" / "train" / "3").iterdir()).unlink()
    with pytest.raises(UserError, match="the 16 train pictures of micro17flower in data/ are not the known ones"):
        registry.load("micro17flower", "train")


def test_a_truncated_or_changed_archive_is_refused(offline, tiny_flowers):
    whole = tiny_flowers.read_bytes()
    expected = hashlib.sha256(whole).hexdigest()
    for contents in (whole[:-100], whole[:-1] + b"\xff"):
        tiny_flowers.write_bytes(contents)
        found = hashlib.sha256(contents).hexdigest()
        with pytest.raises(
            UserError, match=f"expected sha256 {expected}, found {found}; replace it in data/ with a whole"
        ):
            registry.load("micro17flower")
    assert [p.name for p in (offline / "data").iterdir()] == [tiny_flowers.name]
