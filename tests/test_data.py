import gzip
import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from jahslib import archives, data
from jahslib.errors import UserError

EMBEDDED = ("digits", "mnist5k", "retinadigits", "addnist-gen")


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A fresh project root with an empty data/, no other place, and a network that is down; gives the root."""
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    monkeypatch.delenv("JAHSLIB_DATA", raising=False)
    monkeypatch.setattr(data, "ROOT", root)
    monkeypatch.setattr(data, "SYSTEM", tmp_path / "system")

    def down(urls, expected, target, timeout=15.0):
        raise UserError(f"{target.name} could not be downloaded (no network in this test)")

    monkeypatch.setattr(archives, "download", down)
    data._load.cache_clear()
    yield root
    data._load.cache_clear()


def at_hand(name, *splits):
    """The splits of the real data set, or a skip: these tests state facts about files that are never committed."""
    data._load.cache_clear()
    stem = "mnist/train-images-idx3-ubyte.gz" if name == "mnist" else f"{name.replace('-', '_')}.tar.gz"
    if not data._find([stem]):
        pytest.skip(f"needs {stem} in $JAHSLIB_DATA or data/")
    return [data.load(name, split) for split in splits]


# Embedded ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_sets_need_no_file_and_say_what_they_are(offline, name):
    for split in data.splits(name):
        got = data.load(name, split)
        assert got.name == name
        assert got.source == ("generated from mnist5k" if name == "addnist-gen" else "embedded")
        assert got.images.dtype == torch.uint8 and got.labels.dtype == torch.int64
        assert got.images.is_contiguous() and len(got.images) == len(got.labels)
        assert got.images.min() == 0 and got.images.max() == 255
        assert got.labels.unique().tolist() == list(range(got.classes))
    assert list(offline.rglob("*")) == [offline / "data"]


@pytest.mark.parametrize(
    ("name", "shape", "train", "test"),
    [
        ("digits", (1, 8, 8), [134, 137, 133, 138, 136, 137, 136, 135, 131, 135], [44, 45, 44, *[45] * 4, 44, 43, 45]),
        ("mnist5k", (1, 28, 28), [400] * 10, [100] * 10),
        ("addnist-gen", (3, 28, 28), [500] * 20, [100] * 20),
    ],
)  # fmt: skip
def test_embedded_splits_are_stratified(offline, name, shape, train, test):
    for split, counts in (("train", train), ("test", test)):
        got = data.load(name, split)
        assert got.images.shape[1:] == shape
        assert got.labels.bincount().tolist() == counts


@pytest.mark.parametrize("name", ["digits", "mnist5k", "retinadigits"])
def test_embedded_splits_are_disjoint_and_hold_each_image_once(offline, name):
    parts = [data.load(name, split) for split in data.splits(name)]
    pixels = [image.tobytes() for part in parts for image in part.images.numpy()]
    assert len(set(pixels)) == len(pixels)
    assert not data.duplicates_of(parts[0], parts[-1]).any()


def test_digits_are_scikit_learns_images_stretched_to_255(offline):
    from sklearn.datasets import load_digits

    train = data.load("digits")
    first = load_digits()
    assert train.labels[0] == first.target[0]
    assert torch.equal(train.images[0, 0], torch.from_numpy(np.rint(first.images[0] * 255 / 16)).to(torch.uint8))


def test_a_prefix_of_mnist5k_holds_every_class(offline):
    assert data.load("mnist5k").labels[:50].bincount().tolist() == [5] * 10


def test_retinadigits_has_retinamnists_sizes_and_imbalance(offline):
    train, val, test = (data.load("retinadigits", split) for split in ("train", "val", "test"))
    assert [len(part.images) for part in (train, val, test)] == [1080, 120, 400]
    assert train.labels.bincount().tolist() == [486, 128, 206, 194, 66]
    for part in (val, test):
        expected = train.labels.bincount() * len(part.labels) / 1080
        assert (part.labels.bincount() - expected).abs().max() < 1
    assert all(part.images.shape[1:] == (3, 28, 28) for part in (train, val, test))


def test_retinadigits_grades_are_pairs_of_digits_in_order(offline):
    source = data._mnist5k_all()
    digit = {image.tobytes(): int(label) for image, label in zip(*source, strict=True)}
    test = data.load("retinadigits", "test")
    for image, grade in zip(test.images, test.labels.tolist(), strict=True):
        assert torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])
        assert digit[image[:1].numpy().tobytes()] // 2 == grade


@pytest.mark.parametrize("split", ["train", "test"])
def test_addnist_labels_are_the_digit_sum_minus_one(offline, split):
    base, got = data.load("mnist5k", split), data.load("addnist-gen", split)
    digit = {image.tobytes(): label for image, label in zip(base.images.numpy(), base.labels.tolist(), strict=True)}
    rgb = [[digit[channel.tobytes()] for channel in image] for image in got.images.numpy()]  # KeyError: wrong split
    assert (np.sum(rgb, axis=1) - 1).tolist() == got.labels.tolist()
    assert got.labels[:20].tolist() == list(range(20))
    # every channel sees every digit, and triples of a sum are drawn, not fixed
    assert all(set(column) == set(range(10)) for column in np.transpose(rgb).tolist())
    assert len({tuple(row) for row, label in zip(rgb, got.labels.tolist(), strict=True) if label == 12}) > 30


def test_addnist_does_not_depend_on_or_touch_the_global_generators(offline):
    first = data.load("addnist-gen").digest()
    data._load.cache_clear()
    np.random.seed(1)  # noqa: NPY002 - the global generator is the subject
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert data.load("addnist-gen").digest() == first
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


# Names, cache, digest ---------------------------------------------------------------------------------------------


def test_a_repeated_load_is_the_same_object(offline, monkeypatch, tmp_path):
    first = data.load("digits")
    assert data.load("digits", split="train") is first
    monkeypatch.setenv("JAHSLIB_DATA", str(tmp_path / "other"))
    assert data.load("digits") is not first  # another place must be asked again


def test_the_digest_tells_images_labels_and_shapes_apart():
    images = torch.arange(32, dtype=torch.uint8).reshape(2, 1, 4, 4)
    one = data.Dataset("a", images, torch.tensor([0, 1]), 2, "x")
    assert one.digest() == data.Dataset("b", images.clone(), torch.tensor([0, 1]), 2, "y").digest()
    assert len(one.digest()) == 16 and int(one.digest(), 16) >= 0
    others = [(images.flip(0), [0, 1]), (images, [1, 0]), (images.reshape(2, 4, 2, 2), [0, 1])]
    assert len({data.Dataset("a", i, torch.tensor(t), 2, "x").digest() for i, t in others} | {one.digest()}) == 4


def test_duplicates_are_exact():
    train = data.Dataset("a", torch.arange(8, dtype=torch.uint8).reshape(2, 1, 2, 2), torch.tensor([0, 0]), 1, "x")
    near = train.images[1:] + torch.tensor([0, 0, 0, 1], dtype=torch.uint8).reshape(1, 1, 2, 2)
    test = data.Dataset("a", torch.cat([near, train.images]), torch.tensor([0, 0, 0]), 1, "x")
    assert data.duplicates_of(train, test).tolist() == [False, True, True]


def test_wrong_names_and_splits_are_named(offline):
    with pytest.raises(UserError, match="no data set is called 'digit'; choose one of digits, "):
        data.load("digit")
    with pytest.raises(UserError, match="digits has no split 'val'; choose one of train, test"):
        data.load("digits", "val")
    assert "val" in data.splits("retinamnist")


@pytest.mark.parametrize("name", [n for n in data.names() if n not in EMBEDDED])
def test_a_missing_set_says_where_and_how_in_one_line(offline, name, monkeypatch):
    monkeypatch.setenv("JAHSLIB_DATA", "nowhere")
    with pytest.raises(UserError) as caught:
        data.load(name, "test")
    message = str(caught.value)
    name = {"cifartile-gen": "cifar10", "cifartile-gen-jpeg": "cifar10-jpeg"}.get(name, name)  # what they are made of
    assert message.startswith(f"{name}: found no ") and "\n" not in message
    assert "$JAHSLIB_DATA (no such folder), data/ or " in message
    mend = {
        "cifar10-jpeg": "put cifar10_jpeg.tar.gz in data/",
        "micro17flower": "put micro17flower.tar.gz of the AutoML 2021 course project in data/",
        "imagenet16-120": "accept the terms at image-net.org",
    }
    assert mend.get(name, f"no network in this test); to get it, with a network: {data._fetch(name)}") in message
    assert list(offline.rglob("*")) == [offline / "data"]


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
    monkeypatch.setitem(data.IDX_SHA256, "fashion_mnist", pins)
    return {f"{file}.gz": gzip.compress(contents) for file, contents in files.items()}


def put(folder, files):
    folder.mkdir(parents=True)
    for name, contents in files.items():
        (folder / name).write_bytes(contents)


def test_idx_is_read_from_the_first_place_that_has_it(offline, tiny_idx, tmp_path, monkeypatch):
    put(tmp_path / "system" / "fashion-mnist", tiny_idx)  # as Debian's package names it
    got = data.load("fashion_mnist", "test")
    assert got.source == "system" and got.name == "fashion_mnist" and got.classes == 10
    assert np.array_equal(got.images.numpy(), IMAGES[:, None]) and got.labels.tolist() == LABELS.tolist()
    put(offline / "data" / "fashion_mnist", tiny_idx)
    assert data.load("fashion_mnist").source == "data/"
    put(tmp_path / "mine" / "fashion_mnist", tiny_idx)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAHSLIB_DATA", "mine")  # relative to the current directory
    assert data.load("fashion_mnist").source == "JAHSLIB_DATA"


def test_idx_is_checked_by_content_not_by_gzip_header(offline, tiny_idx):
    recompressed = {name: gzip.compress(gzip.decompress(b), 1, mtime=7) for name, b in tiny_idx.items()}
    assert all(recompressed[name] != tiny_idx[name] for name in tiny_idx)
    put(offline / "data" / "fashion_mnist", recompressed)
    assert len(data.load("fashion_mnist").images) == 4


def test_idx_with_other_contents_or_cut_short_is_refused(offline, tiny_idx):
    folder = offline / "data" / "fashion_mnist"
    put(folder, tiny_idx)
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(IMAGES + 1)))
    expected = data.IDX_SHA256["fashion_mnist"]["train-images-idx3-ubyte"]
    with pytest.raises(UserError, match=f"expected sha256 {expected}, found .*; remove it from data/, then: python -m"):
        data.load("fashion_mnist")
    path.write_bytes(tiny_idx[path.name][:-9])
    with pytest.raises(
        UserError, match=r"train-images-idx3-ubyte\.gz is truncated .*; remove it from data/, then: python -m"
    ):
        data.load("fashion_mnist")


def test_only_the_missing_file_is_downloaded_with_torchvisions_md5(offline, tiny_idx, monkeypatch):
    calls = []

    def fake(urls, expected, target, timeout=15.0):
        calls.append((urls, expected, target))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(tiny_idx[target.name])

    monkeypatch.setattr(archives, "download", fake)
    put(offline / "data" / "fashion_mnist", {k: v for k, v in tiny_idx.items() if k.startswith("train-images")})
    assert data.load("fashion_mnist").source == "data/"
    (urls, expected, target) = calls.pop()
    assert not calls
    assert urls == ["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz"]
    assert expected == "md5:25c81989df183df01b3e8a0aad5dffbe"
    assert target == offline / "data" / "fashion_mnist" / "train-labels-idx1-ubyte.gz"
    assert data.load("fashion_mnist", "test").source == "download"


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
        data.load("cifar10")
    monkeypatch.setattr(CIFAR10, "tgz_md5", archives.digest(archive, "md5"))
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", md5["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5["batches.meta"]})
    got = data.load("cifar10")
    assert np.array_equal(got.images.numpy(), train.reshape(2, 3, 32, 32))
    assert got.labels.tolist() == [7, 2] and got.classes == 10 and got.source == "data/"
    assert [p.name for p in (offline / "data").iterdir()] == [archive.name]  # unpacked elsewhere, and gone
    # an unpacked folder is taken as well, each of its files checked
    archives.unpack(archive, offline / "unpacked")
    (offline / "unpacked" / "cifar-10-batches-py").rename(offline / "data" / "cifar-10-batches-py")
    archive.unlink()
    assert np.array_equal(data.load("cifar10", "test").images.numpy(), test.reshape(2, 3, 32, 32))
    (offline / "data" / "cifar-10-batches-py" / "test_batch").write_bytes(b"other")
    data._load.cache_clear()
    with pytest.raises(UserError, match="cifar-10-batches-py is incomplete or damaged"):
        data.load("cifar10")


def npz(path, splits, n=5, size=28, classes=5):
    images = np.arange(n * size * size * 3).reshape(n, size, size, 3).astype(np.uint8)
    labels = np.arange(n).reshape(-1, 1) % classes
    np.savez(path, **{f"{s}_images": images for s in splits}, **{f"{s}_labels": labels for s in splits})
    return images, labels


def test_retinamnist_is_the_published_file_or_nothing(offline, monkeypatch):
    path = offline / "data" / "retinamnist.npz"
    images, labels = npz(path, data.TRAIN_VAL_TEST)
    with pytest.raises(UserError, match=f"expected md5 {data.RETINAMNIST_MD5}, found "):
        data.load("retinamnist", "val")
    monkeypatch.setattr(data, "RETINAMNIST_MD5", archives.digest(path, "md5"))
    got = data.load("retinamnist", "val")
    assert np.array_equal(got.images.numpy(), images.transpose(0, 3, 1, 2))
    assert got.labels.tolist() == labels[:, 0].tolist() and got.classes == 5


def test_an_npz_with_pickled_objects_is_refused(offline, monkeypatch):
    path = offline / "data" / "retinamnist.npz"
    np.savez(path, train_images=np.array([{}], dtype=object), train_labels=np.zeros(1))
    monkeypatch.setattr(data, "RETINAMNIST_MD5", archives.digest(path, "md5"))
    with pytest.raises(UserError, match=r"retinamnist\.npz in data/ is damaged or lacks train arrays"):
        data.load("retinamnist")


def test_imagenet_of_another_size_is_refused_and_the_right_one_loads(offline):
    path = offline / "data" / "imagenet16-120.npz"
    npz(path, data.TRAIN_TEST, n=240, size=16, classes=120)
    with pytest.raises(UserError, match=r"shape \(240, 3, 16, 16\) and 120 classes, not \(6000, 3, 16, 16\)"):
        data.load("imagenet16-120", "test")
    npz(path, data.TRAIN_TEST, n=6000, size=16, classes=120)
    assert data.load("imagenet16-120", "test").labels.bincount().tolist() == [50] * 120


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
    pins = {split: data._pictures(path, split)[1] for split in ("train", "test")}
    monkeypatch.setitem(data.PICTURES_SHA256, "micro17flower", {"archive": archives.digest(path), **pins})
    return path


def test_flower_classes_follow_string_sorted_folder_names(tiny_flowers):
    got = data.load("micro17flower")
    assert got.labels.tolist() == list(range(17)) and got.classes == 17
    assert (got.images[:, 0, 0, 0] / 10).round().int().tolist() == [1, *range(10, 18), *range(2, 10)]


def test_the_folder_and_the_archive_give_the_same_data(offline, tiny_flowers):
    digest = data.load("micro17flower", "test").digest()
    assert [p.name for p in (offline / "data").iterdir()] == [tiny_flowers.name]  # read in memory
    archives.unpack(tiny_flowers, offline / "unpacked")
    (offline / "unpacked" / "micro17flower").rename(offline / "data" / "micro17flower")
    tiny_flowers.unlink()
    data._load.cache_clear()
    assert data.load("micro17flower", "test").digest() == digest
    next((offline / "data" / "micro17flower" / "train" / "3").iterdir()).unlink()
    with pytest.raises(UserError, match="the 16 train pictures of micro17flower in data/ are not the known ones"):
        data.load("micro17flower", "train")


def test_a_truncated_or_changed_archive_is_refused(offline, tiny_flowers):
    whole = tiny_flowers.read_bytes()
    expected = hashlib.sha256(whole).hexdigest()
    for contents in (whole[:-100], whole[:-1] + b"\xff"):
        tiny_flowers.write_bytes(contents)
        found = hashlib.sha256(contents).hexdigest()
        with pytest.raises(
            UserError, match=f"expected sha256 {expected}, found {found}; replace it in data/ with a whole"
        ):
            data.load("micro17flower")
    assert [p.name for p in (offline / "data").iterdir()] == [tiny_flowers.name]


# Facts about the real files ---------------------------------------------------------------------------------------


def test_micro17flower_is_as_published_in_the_course():
    train, test = at_hand("micro17flower", "train", "test")
    assert train.images.shape == (1020, 3, 16, 16) and test.images.shape == (340, 3, 16, 16)
    assert train.labels.bincount().tolist() == [60] * 17 and test.labels.bincount().tolist() == [20] * 17
    assert int(data.duplicates_of(train, test).sum()) == 10
    scaled = train.images.float() / 255
    assert torch.allclose(scaled.mean((0, 2, 3)), torch.tensor([0.4198, 0.4221, 0.2846]), atol=1e-4)
    assert torch.allclose(scaled.std((0, 2, 3)), torch.tensor([0.2407, 0.2210, 0.2206]), atol=1e-4)


def test_micro17flower_comes_in_torchvisions_image_folder_order(tmp_path):
    from torchvision.datasets import ImageFolder

    (train,) = at_hand("micro17flower", "train")
    _, path = data._find(["micro17flower.tar.gz"])
    archives.unpack(path, tmp_path / "out")
    reference = ImageFolder(tmp_path / "out" / "micro17flower" / "train")
    assert train.labels.tolist() == reference.targets
    assert all(
        np.array_equal(np.asarray(picture), train.images[i].permute(1, 2, 0))
        for i, (picture, _) in enumerate(reference)
    )


def test_cifar10_jpeg_keeps_its_own_name():
    (test,) = at_hand("cifar10-jpeg", "test")
    assert test.name == "cifar10-jpeg" and test.images.shape == (10_000, 3, 32, 32)
    assert test.labels.bincount().tolist() == [1000] * 10


def test_real_mnist_feeds_addnist_when_it_is_at_hand():
    (mnist,) = at_hand("mnist", "train")
    assert mnist.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    got = data.load("addnist-gen", "test")
    assert got.source == "generated from mnist" and got.labels.bincount().tolist() == [500] * 20


# Command line -----------------------------------------------------------------------------------------------------


def test_command_line_lists_and_fetches(offline, capsys):
    assert data.main(["list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == data.names()
    assert data.main(["fetch", "digits"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "digits train: 1352 images of 1x8x8, 10 classes, embedded"


@pytest.mark.parametrize("arguments", [[], ["fetch"], ["fetch", "nope"], ["get", "digits"], ["fetch", "micro17flower"]])
def test_wrong_input_is_one_line_on_stderr_and_exit_code_2(offline, capsys, arguments):
    assert data.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1


def test_the_module_runs_as_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "jahslib.data", "fetch", "nope"],
        capture_output=True, text=True, cwd=data.ROOT, env=os.environ | {"PYTHONPATH": str(data.ROOT)}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("no data set is called 'nope'") and done.stderr.count("\n") == 1
