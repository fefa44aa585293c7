"""AddNIST and CIFARTile by their rules, on images that show which they are: the i-th of class c is all 10c + i."""

import numpy as np
import pytest

from jahslib.data.nas_unseen import addnist, cifartile

LABELS = np.tile(np.arange(10), 5)  # five images of each class
FILL = (10 * LABELS + np.arange(50) // 10).astype(np.uint8)


def plain(channels, size=8):
    return np.tile(FILL[:, None, None, None], (1, channels, size, size))


def make_addnist(n=400, seed=0):
    return addnist(plain(1), LABELS, n, np.random.default_rng(seed))


def make_tiles(n=400, seed=0, augment=False):
    return cifartile(plain(3) + 1, LABELS, n, np.random.default_rng(seed), augment)


class TestAddnist:
    def test_the_label_is_the_sum_of_the_digits_minus_one(self):
        images, labels = make_addnist()
        digits = images[:, :, 0, 0] // 10
        assert images.shape == (400, 3, 8, 8) and (images == images[:, :, :1, :1]).all()
        assert (digits.sum(1) == labels + 1).all()

    def test_every_beginning_is_balanced(self):
        for n in (20, 60, 400):
            assert np.bincount(make_addnist()[1][:n]).tolist() == [n // 20] * 20

    def test_digits_of_a_sum_are_uniform_and_all_images_occur(self):
        images, labels = make_addnist(20_000)
        twos = images[labels == 1, :, 0, 0] // 10  # 2 = 2+0+0 in three orders, 1+1+0 in three
        share = np.mean(twos.max(1) == 2)
        assert share == pytest.approx(0.5, abs=0.06)
        assert set(np.unique(images)) == set(FILL)


class TestCifartile:
    def test_the_label_is_the_number_of_distinct_classes_minus_one(self):
        images, labels = make_tiles()
        tiles = (images[:, 0, ::8, ::8].reshape(-1, 4) - 1) // 10
        assert images.shape == (400, 3, 16, 16)
        assert all(len(set(row)) == label + 1 for row, label in zip(tiles, labels, strict=True))
        shares = {label: {tuple(sorted(np.unique(row, return_counts=True)[1]))
                          for row, own in zip(tiles, labels, strict=True) if own == label}
                  for label in range(4)}  # fmt: skip
        assert shares == {0: {(4,)}, 1: {(2, 2)}, 2: {(1, 1, 2)}, 3: {(1, 1, 1, 1)}}

    def test_every_beginning_is_balanced_and_places_vary(self):
        images, labels = make_tiles()
        assert np.bincount(labels[:40]).tolist() == [10] * 4
        tiles = (images[:, 0, ::8, ::8].reshape(-1, 4) - 1) // 10
        pairs = tiles[labels == 1]
        assert {tuple(row == row[0]) for row in pairs} == {
            (True, True, False, False), (True, False, True, False), (True, False, False, True)
        }  # fmt: skip

    def test_augmentation_shifts_and_mirrors_each_tile(self):
        ramp = np.broadcast_to(np.arange(1, 9, dtype=np.uint8), (50, 3, 8, 8))
        images, _ = cifartile(ramp, LABELS, 200, np.random.default_rng(0), augment=True)
        tiles = images.reshape(200, 3, 2, 8, 2, 8).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 3, 8, 8)
        rows = tiles.max((1, 2))
        padded = np.concatenate([np.zeros(4), np.arange(1, 9), np.zeros(4)])
        expected = {tuple(part) for i in range(9) for part in (padded[i : i + 8], padded[i : i + 8][::-1])}
        assert {tuple(map(float, row)) for row in rows} == expected
        assert len(np.unique((tiles.max((1, 3)) > 0).sum(1))) == 5  # of 8 rows, 4 to 8 are left


@pytest.mark.parametrize("make", [make_addnist, make_tiles])
def test_the_generator_alone_decides(make):
    one, same, other = make(), make(), make(seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[0], other[0])
