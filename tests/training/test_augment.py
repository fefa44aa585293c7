import math

import pytest
import torch
from torchvision.transforms import functional as vision

from jahslib.training.augment import flip_and_crop, flips_and_rotations, turn


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=6, h=9, w=9):
    return 0.1 + torch.rand(n, 3, h, w, generator=generator(1))


@pytest.mark.parametrize("degrees", [0.0, 90.0, -90.0, 180.0, 33.0, -120.5])
@pytest.mark.parametrize("size", [(9, 9), (6, 10)])
def test_mirroring_and_turning_are_torchvisions(degrees, size):
    x, ones = images(1, *size), torch.ones(1)
    for mirror_x, mirror_y in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
        expected = x if mirror_x > 0 else vision.hflip(x)
        expected = expected if mirror_y > 0 else vision.vflip(expected)
        turned = turn(x, math.radians(degrees) * ones, mirror_x * ones, mirror_y * ones)
        assert torch.equal(turned, vision.rotate(expected, degrees))


def test_flips_alone_give_all_four_exact_flips_equally_often():
    x = images(1).expand(400, -1, -1, -1)
    y = flips_and_rotations(x, generator(), degrees=0)
    variants = [x[0], x[0].flip(1), x[0].flip(2), x[0].flip(1, 2)]
    counts = [sum(torch.equal(image, variant) for image in y) for variant in variants]
    assert sum(counts) == 400 and min(counts) > 70


def test_angles_are_uniform_over_the_range():
    x = torch.zeros(600, 1, 41, 41)
    x[:, :, 20, 39:] = 1  # a mark to the right of the centre
    for degrees in (180, 45):
        y = flips_and_rotations(x, generator(), flips=False, degrees=degrees)
        rows, columns = torch.arange(41.0)[:, None] - 20, torch.arange(41.0) - 20
        mass = y.sum((1, 2, 3))
        angle = torch.rad2deg(torch.atan2(-(y[:, 0] * rows).sum((1, 2)) / mass, (y[:, 0] * columns).sum((1, 2)) / mass))
        histogram = torch.histc(angle[mass > 0], bins=4, min=-degrees, max=degrees) / (mass > 0).sum()
        assert angle.abs().max() < degrees + 3
        torch.testing.assert_close(histogram, torch.full((4,), 0.25), atol=0.07, rtol=0)


def test_each_image_keeps_its_own_pixels_and_what_comes_from_outside_is_0():
    x = torch.arange(1.0, 7)[:, None, None, None].expand(6, 3, 9, 9)
    y = flips_and_rotations(x, generator())
    assert y.shape == x.shape and all(set(y[i].unique().tolist()) <= {0.0, i + 1.0} for i in range(6))
    assert (y == 0).any()
    assert torch.equal(y[:, :, 4, 4], x[:, :, 4, 4])


def test_the_generator_decides_alone():
    with torch.random.fork_rng():
        before = torch.get_rng_state()
        a, b = flips_and_rotations(images(), generator(2)), flips_and_rotations(images(), generator(2))
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(a, b) and not torch.equal(a, flips_and_rotations(images(), generator(3)))


def test_crops_are_shifts_of_the_image_and_flips_mirror_it():
    ramp = torch.arange(1.0, 7.0).expand(300, 2, 6, 6)
    found = flip_and_crop(ramp, torch.Generator().manual_seed(0), pad=2)
    padded = torch.tensor([0.0, 0, 1, 2, 3, 4, 5, 6, 0, 0])
    rows = {tuple(image.amax((0, 1)).tolist()) for image in found}
    expected = {tuple(part.tolist()) for i in range(5) for part in (padded[i : i + 6], padded[i : i + 6].flip(0))}
    assert found.shape == ramp.shape and rows == expected
    assert {int((image.amax((0, 2)) > 0).sum()) for image in found} == {4, 5, 6}
    assert torch.equal(found, flip_and_crop(ramp, torch.Generator().manual_seed(0), pad=2))


def test_without_flips_and_padding_nothing_changes():
    images = torch.rand(5, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(flip_and_crop(images, torch.Generator().manual_seed(1), pad=0, flip=False), images)
