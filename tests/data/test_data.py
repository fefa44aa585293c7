import hashlib
import shutil

import numpy as np
import pytest
import torch

from jahslib.__main__ import main as command
from jahslib.data import places, registry
from jahslib.errors import UserError

EMBEDDED = ("digits", "mnist5k", "retinadigits", "addnist-gen")


def at_hand(name, *splits):
    """The splits of the real data set, or a skip: these tests state facts about files that are never committed."""
    registry._load.cache_clear()
    stem = "mnist/train-images-idx3-ubyte.gz" if name == "mnist" else f"{name.replace('-', '_')}.tar"
    if not places.find([stem, f"{stem}.gz"]):
        pytest.skip(f"needs {stem} or {stem}.gz in $JAHSLIB_DATA or data/")
    return [registry.load(name, split) for split in splits]


# Embedded ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_sets_need_no_file_and_say_what_they_are(offline, name):
    for split in registry.splits(name):
        got = registry.load(name, split)
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
        got = registry.load(name, split)
        assert got.images.shape[1:] == shape
        assert got.labels.bincount().tolist() == counts


@pytest.mark.parametrize("name", ["digits", "mnist5k", "retinadigits"])
def test_embedded_splits_are_disjoint_and_hold_each_image_once(offline, name):
    parts = [registry.load(name, split) for split in registry.splits(name)]
    pixels = [image.tobytes() for part in parts for image in part.images.numpy()]
    assert len(set(pixels)) == len(pixels)
    assert not registry.duplicates_of(parts[0], parts[-1]).any()


def test_digits_are_scikit_learns_images_stretched_to_255(offline):
    from sklearn.datasets import load_digits

    train = registry.load("digits")
    first = load_digits()
    assert train.labels[0] == first.target[0]
    assert torch.equal(train.images[0, 0], torch.from_numpy(np.rint(first.images[0] * 255 / 16)).to(torch.uint8))


def test_a_prefix_of_mnist5k_holds_every_class(offline):
    assert registry.load("mnist5k").labels[:50].bincount().tolist() == [5] * 10


def test_retinadigits_has_retinamnists_sizes_and_imbalance(offline):
    train, val, test = (registry.load("retinadigits", split) for split in ("train", "val", "test"))
    assert [len(part.images) for part in (train, val, test)] == [1080, 120, 400]
    assert train.labels.bincount().tolist() == [486, 128, 206, 194, 66]
    for part in (val, test):
        expected = train.labels.bincount() * len(part.labels) / 1080
        assert (part.labels.bincount() - expected).abs().max() < 1
    assert all(part.images.shape[1:] == (3, 28, 28) for part in (train, val, test))


def test_retinadigits_grades_are_pairs_of_digits_in_order(offline):
    source = registry._mnist5k_all()
    digit = {image.tobytes(): int(label) for image, label in zip(*source, strict=True)}
    test = registry.load("retinadigits", "test")
    for image, grade in zip(test.images, test.labels.tolist(), strict=True):
        assert torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])
        assert digit[image[:1].numpy().tobytes()] // 2 == grade


@pytest.mark.parametrize("split", ["train", "test"])
def test_addnist_labels_are_the_digit_sum_minus_one(offline, split):
    base, got = registry.load("mnist5k", split), registry.load("addnist-gen", split)
    digit = {image.tobytes(): label for image, label in zip(base.images.numpy(), base.labels.tolist(), strict=True)}
    rgb = [[digit[channel.tobytes()] for channel in image] for image in got.images.numpy()]  # KeyError: wrong split
    assert (np.sum(rgb, axis=1) - 1).tolist() == got.labels.tolist()
    assert got.labels[:20].tolist() == list(range(20))
    # every channel sees every digit, and triples of a sum are drawn, not fixed
    assert all(set(column) == set(range(10)) for column in np.transpose(rgb).tolist())
    assert len({tuple(row) for row, label in zip(rgb, got.labels.tolist(), strict=True) if label == 12}) > 30


def test_addnist_does_not_depend_on_or_touch_the_global_generators(offline):
    first = registry.load("addnist-gen").digest()
    registry._load.cache_clear()
    np.random.seed(1)  # noqa: NPY002 - the global generator is the subject
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert registry.load("addnist-gen").digest() == first
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


# Names, cache, digest ---------------------------------------------------------------------------------------------


def test_a_repeated_load_is_the_same_object(offline, monkeypatch, tmp_path):
    first = registry.load("digits")
    assert registry.load("digits", split="train") is first
    monkeypatch.setenv("JAHSLIB_DATA", str(tmp_path / "other"))
    assert registry.load("digits") is not first  # another place must be asked again


def test_the_digest_tells_images_labels_and_shapes_apart():
    images = torch.arange(32, dtype=torch.uint8).reshape(2, 1, 4, 4)
    one = registry.Dataset("a", images, torch.tensor([0, 1]), 2, "x")
    assert one.digest() == registry.Dataset("b", images.clone(), torch.tensor([0, 1]), 2, "y").digest()
    assert len(one.digest()) == 16 and int(one.digest(), 16) >= 0
    others = [(images.flip(0), [0, 1]), (images, [1, 0]), (images.reshape(2, 4, 2, 2), [0, 1])]
    assert len({registry.Dataset("a", i, torch.tensor(t), 2, "x").digest() for i, t in others} | {one.digest()}) == 4


def test_duplicates_are_exact():
    train = registry.Dataset("a", torch.arange(8, dtype=torch.uint8).reshape(2, 1, 2, 2), torch.tensor([0, 0]), 1, "x")
    near = train.images[1:] + torch.tensor([0, 0, 0, 1], dtype=torch.uint8).reshape(1, 1, 2, 2)
    test = registry.Dataset("a", torch.cat([near, train.images]), torch.tensor([0, 0, 0]), 1, "x")
    assert registry.duplicates_of(train, test).tolist() == [False, True, True]


def test_wrong_names_and_splits_are_named(offline):
    with pytest.raises(UserError, match="'digit' is unknown; did you mean 'digits'"):
        registry.load("digit")
    with pytest.raises(UserError, match="digits: split 'val' is unknown"):
        registry.load("digits", "val")
    assert "val" in registry.splits("retinamnist")


@pytest.mark.parametrize("name", [n for n in list(registry.ENTRIES) if n not in EMBEDDED])
def test_a_missing_set_says_where_and_how_in_one_line(offline, name, monkeypatch):
    monkeypatch.setenv("JAHSLIB_DATA", "nowhere")
    with pytest.raises(UserError) as caught:
        registry.load(name, "test")
    message = str(caught.value)
    name = {"cifartile-gen": "cifar10", "cifartile-gen-rebuilt": "cifar10-rebuilt"}.get(
        name, name
    )  # what they are made of
    assert message.startswith(f"{name}: found no ") and "\n" not in message
    assert "$JAHSLIB_DATA (no such folder), data/ or " in message
    mend = {
        "cifar10-rebuilt": "put cifar10_rebuilt.tar in data/",
        "micro17flower": "put micro17flower.tar.gz of the AutoML 2021 course project in data/",
        "imagenet16-120": "accept the terms at image-net.org",
    }
    assert (
        mend.get(name, f"no network in this test); to get it, with a network: {places.fetch_command(name)}") in message
    )
    assert list(offline.rglob("*")) == [offline / "data"]


# Facts about the real files ---------------------------------------------------------------------------------------


def test_micro17flower_is_as_published_in_the_course():
    train, test = at_hand("micro17flower", "train", "test")
    assert train.images.shape == (1020, 3, 16, 16) and test.images.shape == (340, 3, 16, 16)
    assert train.labels.bincount().tolist() == [60] * 17 and test.labels.bincount().tolist() == [20] * 17
    assert int(registry.duplicates_of(train, test).sum()) == 10
    scaled = train.images.float() / 255
    assert torch.allclose(scaled.mean((0, 2, 3)), torch.tensor([0.4198, 0.4221, 0.2846]), atol=1e-4)
    assert torch.allclose(scaled.std((0, 2, 3)), torch.tensor([0.2407, 0.2210, 0.2206]), atol=1e-4)


def test_micro17flower_comes_in_torchvisions_image_folder_order(tmp_path):
    from torchvision.datasets import ImageFolder

    (train,) = at_hand("micro17flower", "train")
    _, path = places.find(["micro17flower.tar.gz"])
    shutil.unpack_archive(path, tmp_path / "out")
    reference = ImageFolder(tmp_path / "out" / "micro17flower" / "train")
    assert train.labels.tolist() == reference.targets
    assert all(
        np.array_equal(np.asarray(picture), train.images[i].permute(1, 2, 0))
        for i, (picture, _) in enumerate(reference)
    )


def test_cifar10_rebuilt_keeps_its_own_name_and_the_official_order():
    (train,) = at_hand("cifar10-rebuilt", "train")
    assert train.name == "cifar10-rebuilt" and train.images.shape == (50_000, 3, 32, 32)
    assert train.labels[:5].tolist() == [6, 9, 9, 4, 1] and train.labels.bincount().tolist() == [5000] * 10
    assert (train.images[:, 0].float().mean() / 255).item() == pytest.approx(0.4914, abs=1e-4)


def test_cifar100_from_strips_is_the_official_set():
    (test,) = at_hand("cifar100", "test")
    pixels = hashlib.sha256(test.images.permute(0, 2, 3, 1).contiguous().numpy()).hexdigest()
    labels = hashlib.sha256(test.labels.to(torch.uint8).numpy()).hexdigest()
    assert pixels == "4cb8e5d9309da489bf6b19cc10cd96c3ae6f8daf225380b605aaee4c0d6aee19"
    assert labels == "4dad7d09c7c97d33f6cb928d705cf4196221316fd6e31bdd978a08ed9103ee0b"
    assert test.classes == 100


def test_real_mnist_feeds_addnist_when_it_is_at_hand():
    (mnist,) = at_hand("mnist", "train")
    assert mnist.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    got = registry.load("addnist-gen", "test")
    assert got.source == "generated from mnist" and got.labels.bincount().tolist() == [500] * 20


# Command line -----------------------------------------------------------------------------------------------------


def test_command_line_lists_and_fetches(offline, capsys):
    assert command(["data", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(registry.ENTRIES)
    assert command(["data", "fetch", "digits"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "digits train: 1352 images of 1x8x8, 10 classes, embedded"


@pytest.mark.parametrize("arguments", [[], ["fetch"], ["fetch", "nope"], ["get", "digits"], ["fetch", "micro17flower"]])
def test_wrong_input_is_one_line_on_stderr_and_exit_code_2(offline, capsys, arguments):
    assert command(["data", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1


def test_it_is_one_of_the_commands(capsys):
    assert command(["data", "fetch", "nope"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("jahslib data: data set 'nope' is unknown")
