"""Random augmentation of whole batches, vectorised over images."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def flips_and_rotations(
    images: Tensor, generator: torch.Generator, *, flips: bool = True, degrees: float = 180.0
) -> Tensor:
    """Flip each image along both axes, each with probability 1/2, and rotate it by +-`degrees`.

    `images`: `b x c x h x w` floats; the result has the same shape. As torchvision's RandomHorizontalFlip,
    RandomVerticalFlip and RandomRotation, which study 05's original chains: the angle is uniform, sampling is
    nearest-neighbour, and pixels from outside are 0. `generator` is on the images' device.
    """
    b = len(images)
    draws = torch.rand(3, b, generator=generator, device=images.device, dtype=images.dtype)
    angle = (2 * draws[0] - 1) * math.radians(degrees)
    mirror = torch.where(draws[1:] < 0.5, -1.0, 1.0).to(images.dtype) if flips else torch.ones_like(draws[1:])
    return turn(images, angle, mirror[0], mirror[1])


def flip_and_crop(images: Tensor, generator: torch.Generator, *, pad: int, flip: bool = True) -> Tensor:
    """Flip each image left-right with probability 1/2 and shift it by up to `pad` pixels.

    `images`: `b x c x h x w` floats; the result has the same shape, padded with zeros. As torchvision's
    RandomHorizontalFlip and RandomCrop with padding. `generator` is on the images' device.
    """
    b, _, h, w = images.shape
    device = images.device
    top, left = torch.randint(2 * pad + 1, (2, b), generator=generator, device=device)
    mirrored = torch.rand(b, generator=generator, device=device) < (0.5 if flip else 0.0)
    rows = top[:, None] + torch.arange(h, device=device)
    columns = left[:, None] + torch.arange(w, device=device)
    columns = torch.where(mirrored[:, None], w + 2 * pad - 1 - columns, columns)
    padded = F.pad(images, (pad, pad, pad, pad)).permute(0, 2, 3, 1)
    taken = padded[torch.arange(b, device=device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return taken.permute(0, 3, 1, 2)


def turn(images: Tensor, angle: Tensor, mirror_x: Tensor, mirror_y: Tensor) -> Tensor:
    """Mirror each image (-1) or not (1) along its axes, then rotate it counter-clockwise.

    All but `images` (`b x c x h x w`) have shape `b`, `angle` in radians. Done in one nearest-neighbour look-up.
    """
    h, w = images.shape[2:]
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # From a pixel of the result to where it comes from, in coordinates of -1..1 along each side.
    x = torch.stack([mirror_x * cos, -mirror_x * sin * (h / w), zero], 1)
    y = torch.stack([mirror_y * sin * (w / h), mirror_y * cos, zero], 1)
    grid = F.affine_grid(torch.stack([x, y], 1), list(images.shape), align_corners=False)
    turned = F.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return turned.contiguous(memory_format=torch.channels_last)
