"""Training and validation images of the two phases of study 05."""

import pytest
import torch

from jahslib.data import registry
from jahslib.errors import UserError
from jahslib.problems.darts.splits import resplit, train_and_val


def test_a_data_set_with_validation_images_keeps_them():
    train, val = train_and_val("retinadigits")
    for split, (images, labels) in (("train", train), ("val", val)):
        loaded = registry.load("retinadigits", split)
        assert torch.equal(images, loaded.images) and torch.equal(labels, loaded.labels)
    _, few = train_and_val("retinadigits", per_class=2)
    assert few[1].bincount().tolist() == [2] * 5


def test_a_data_set_without_validation_images_gives_a_third_of_each_class():
    train, val = train_and_val("digits", per_class=12)
    assert train[1].bincount().tolist() == [8] * 10 and val[1].bincount().tolist() == [4] * 10
    both = torch.cat([train[0], val[0]]).flatten(1)
    assert len(both.unique(dim=0)) == len(both)


@pytest.mark.parametrize(("name", "per_class", "least"), [("digits", 2, 3), ("retinadigits", 0, 1)])
def test_too_few_images_for_validation_are_refused(name, per_class, least):
    with pytest.raises(UserError, match=f"per_class: {per_class} images a class leave none .*; give at least {least}"):
        train_and_val(name, per_class)
    assert all(len(labels) for _, labels in train_and_val(name, least))


def test_resplitting_divides_the_same_images_anew():
    fixed = train_and_val("retinadigits")
    one, other = resplit(*fixed, 1), resplit(*fixed, 2)
    for split in (one, other):
        assert [len(labels) for _, labels in split] == [1080, 120]
        assert (
            torch.cat([split[0][1], split[1][1]]).bincount() == torch.cat([fixed[0][1], fixed[1][1]]).bincount()
        ).all()
    assert not torch.equal(one[1][0], other[1][0]) and not torch.equal(one[1][0], fixed[1][0])
    assert torch.equal(resplit(*fixed, 1)[1][0], one[1][0])
