"""Generators of AddNIST and CIFARTile from other data sets' images, by the published rules.

Source: Geada et al., "Insights from the Use of Previously Unseen Neural Architecture Search Datasets", CVPR 2024. What
is generated here follows the rules and is not the published files; `jahslib.data.registry` gives it names of its own.
"""

import numpy as np

N_SUMS = 20
MOST_CLASSES = 4  # tiles of a CIFARTile image


def addnist(images: np.ndarray, labels: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Combine MNIST digits r, g, b as the channels of an image with label r+g+b-1 in 0..19.

    Labels cycle, so that classes are balanced. The three digits are uniform among the triples with the label's sum;
    each is a random image of that digit.

    Args:
        images: digits, `m x 1 x h x w`, uint8; every digit must occur.
        labels: `m`.

    Returns:
        images (`n x 3 x h x w`) and labels (`n`).
    """
    triples = np.stack(np.meshgrid(*[np.arange(10)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    sums = np.arange(n) % N_SUMS  # in turn, so that any prefix is balanced
    rgb = np.empty((n, 3), dtype=np.int64)
    for label in range(N_SUMS):
        rows = triples[triples.sum(1) == label + 1]
        rgb[sums == label] = rows[rng.integers(len(rows), size=np.sum(sums == label))]
    return images[_one_of(labels, rgb, rng), 0], sums


def cifartile(
    images: np.ndarray, labels: np.ndarray, n: int, rng: np.random.Generator, augment: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Combine four images to 2 x 2 tiles; the label is the number of distinct classes, minus 1.

    Labels cycle. One class fills all four tiles, two fill two each, of three one fills two; classes and positions are
    uniform.

    Args:
        images: `m x 3 x h x w`, uint8. labels: `m`, in 0..9; every class must occur.
        augment: each tile is mirrored with probability 1/2 and shifted by up to 4 pixels (zero padding), once.

    Returns:
        images (`n x 3 x 2h x 2w`) and labels (`n`).
    """
    counts = np.arange(n) % MOST_CLASSES
    which = np.array([[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 2], [0, 1, 2, 3]])[counts]
    classes = rng.permuted(np.tile(np.arange(10), (n, 1)), axis=1)
    tiles = rng.permuted(np.take_along_axis(classes, which, axis=1), axis=1)
    picks = _one_of(labels, tiles, rng)
    _, c, h, w = images.shape
    made = np.empty((n, c, 2, h, 2, w), dtype=np.uint8)
    for tile in range(4):
        content = images[picks[:, tile]]
        if augment:
            content = _shift(content, rng, 4)
        made[:, :, tile // 2, :, tile % 2] = content
    return made.reshape(n, c, 2 * h, 2 * w), counts


def _one_of(labels: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw for each wanted class (any shape) the row of one image of that class."""
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=10)
    return order[(np.cumsum(counts) - counts)[wanted] + rng.integers(counts[wanted])]


def _shift(images: np.ndarray, rng: np.random.Generator, pad: int) -> np.ndarray:
    """Mirror each image (`n x c x h x w`) or not, and shift it by up to `pad` pixels."""
    n, _, h, w = images.shape
    top, left = rng.integers(2 * pad + 1, size=(2, n))
    mirrored = rng.random(n) < 0.5
    padded = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    shifted = np.empty_like(images)
    # A loop over the few shifts and mirrorings there are, not over the images.
    for i in range(2 * pad + 1):
        for j in range(2 * pad + 1):
            for flip in (False, True):
                rows = np.flatnonzero((top == i) & (left == j) & (mirrored == flip))
                part = padded[rows, :, i : i + h, j : j + w]
                shifted[rows] = part[..., ::-1] if flip else part
    return shifted
