"""Stored figures look as they were drawn."""

import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from jahslib.reporting.figure_files import smaller


@pytest.fixture
def drawn():
    figure, axis = plt.subplots()
    x = np.linspace(0, 1, 200)
    for k in range(5):
        axis.fill_between(x, np.sin(9 * x + k), np.sin(9 * x + k) + 0.3, alpha=0.2, label=f"curve {k}")
    axis.plot(x[::20], x[::20] ** 2, "o")
    axis.legend(fontsize=7.3)
    files = {"png": io.BytesIO(), "svg": io.BytesIO()}
    for suffix, file in files.items():
        figure.savefig(file, format=suffix)
    plt.close(figure)
    return {suffix: file.getvalue() for suffix, file in files.items()}


def test_a_png_has_256_colours(drawn):
    made = smaller(drawn["png"], "png")
    assert len(made) < 0.7 * len(drawn["png"])
    before, after = (np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), float) for png in (drawn["png"], made))
    assert np.abs(before - after).mean() < 1.0  # of 255


def points(svg: bytes) -> np.ndarray:
    """All points of all paths, absolute or relative: `points x 2`."""
    found = []
    for path in re.findall(r' d="([^"]*)"', svg.decode()):
        at, begin = np.zeros(2), np.zeros(2)
        for command, text in re.findall(r"([A-Za-z])([^A-Za-z]*)", path):
            own = np.array(re.findall(r"-?(?:\d+\.?\d*|\.\d+)", text), float).reshape(-1, 2)
            own = own + at * command.islower()
            begin = own[0] if command in "Mm" else begin
            at = own[-1] if len(own) else begin
            found.append(own)
    return np.concatenate(found)


def test_an_svg_keeps_each_point_to_a_hundredth_and_the_size_of_letters(drawn):
    made = smaller(drawn["svg"], "svg")
    assert len(made) < 0.6 * len(drawn["svg"]) and smaller(made, "svg") == made
    assert np.abs(points(drawn["svg"]) - points(made)).max() < 0.0051
    scales = [re.findall(rb"scale\([^)]*\)", svg) for svg in (drawn["svg"], made)]
    assert scales[0] == scales[1] and b"scale(0.015625)" in scales[1] and b"scale(0.073 -0.073)" in scales[1]
