"""The fixed split into training and validation images that both phases of study 05 share."""

import torch

from jahslib.data import registry
from jahslib.errors import UserError
from jahslib.problems.cross_validated import Images, first_images


def train_and_val(name: str, per_class: int | None = None) -> tuple[Images, Images]:
    """Load a data set's training and validation images, of each class the first `per_class` or all.

    Without a validation split, every third image of each class of the training split is for validation. Raises
    `UserError` where none are left for that.
    """
    split = "val" in registry.splits(name)
    least = 1 if split else 3
    if per_class is not None and per_class < least:
        raise UserError(f"per_class: {per_class} images a class leave none for validation; give at least {least}")
    images, labels = first_images(registry.load(name), per_class)
    if split:
        return (images, labels), first_images(registry.load(name, "val"), per_class)
    held_out = registry.rank_in_class(labels) % 3 == 2
    return (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])


def resplit(train: Images, val: Images, seed: int) -> tuple[Images, Images]:
    """Merge both parts and divide them at random in the same sizes, as the class project does."""
    images, labels = torch.cat([train[0], val[0]]), torch.cat([train[1], val[1]])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed % 2**63))
    first, second = order[: len(train[1])], order[len(train[1]) :]
    return (images[first], labels[first]), (images[second], labels[second])
