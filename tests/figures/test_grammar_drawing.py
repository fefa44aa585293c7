"""Drawings of terms: what they show, and that nothing covers anything else."""

import itertools

import numpy as np
import pytest
from matplotlib.patches import FancyBboxPatch

from jahslib.errors import UserError
from jahslib.figures.term_drawing import draw
from jahslib.figures.term_layout import kind
from jahslib.spaces.grammars import examples, graphs

HIERARCHICAL = examples.grammar("hierarchical")


def texts(figure):
    return [t.get_text() for t in figure.axes[0].texts]


def boxes(figure):
    patches = [p for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch)]
    return [(p.get_x(), p.get_y(), p.get_x() + p.get_width(), p.get_y() + p.get_height()) for p in patches]


@pytest.mark.parametrize("level", [0, 2, 4, None])
@pytest.mark.parametrize("name", ["hierarchical", "cell-based", "DARTS cell"])
def test_every_operation_is_shown_once_and_no_boxes_overlap(name, level):
    grammar = examples.grammar(name)
    term = grammar.sample(np.random.default_rng(3))
    figure = draw(grammar, term, level)
    shown = texts(figure)
    words = [word for label in graphs.graph(grammar, term, level).labels for word in label.split(" ")]
    assert all(shown.count(word) == words.count(word) for word in words)
    for (a, b, c, d), (e, f, g, h) in itertools.combinations(boxes(figure), 2):
        assert c <= e or g <= a or d <= f or h <= b


def test_resolutions_are_named_where_there_are_resblocks():
    term = HIERARCHICAL.sample(np.random.default_rng(0))
    assert {"full resolution", "1/2 of it"} <= set(texts(draw(HIERARCHICAL, term, 3)))
    cells = examples.grammar("cell-based")
    assert "full resolution" not in texts(draw(cells, cells.sample(np.random.default_rng(0))))


def test_a_long_drawing_goes_on_where_it_left_off():
    term = HIERARCHICAL.sample(np.random.default_rng(0))
    shown = texts(draw(HIERARCHICAL, term, 2, per_row=4))
    ports = [text for text in shown if text.isdigit()]
    assert ports and all(ports.count(p) % 2 == 0 for p in ports)


def test_kinds_tell_operations_apart():
    shown = ("input", "CELL Cell", "mish", "dconv3x3o", "layer", "avg_pool", "resBlock", "sin")
    assert len({kind(label) for label in shown}) == len(shown)


def test_too_few_layers_a_row_are_refused():
    with pytest.raises(UserError, match="per_row: 1; give at least 2"):
        draw(HIERARCHICAL, HIERARCHICAL.sample(np.random.default_rng(0)), per_row=1)
