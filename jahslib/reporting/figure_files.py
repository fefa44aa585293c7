"""Figures in fewer bytes that look the same."""

import io
import re

from jahslib.extras import extra

with extra("notebooks"):
    from PIL import Image

# A letter's `scale(0.015625)` multiplies coordinates of thousands, so that it keeps all its digits.
_LONG_NUMBER = re.compile(r"(scale\([^)]*\))|-?\d+\.\d{3,}")
_PATH = re.compile(r' d="(M[-\d.\sMLQCz]*)"')  # as matplotlib writes it, from the page's corner


def smaller(drawn: bytes, suffix: str) -> bytes:
    """Store a figure that matplotlib drew in fewer bytes: 256 colours in a "png", hundredths of a point in an "svg"."""
    if suffix == "svg":
        text = _LONG_NUMBER.sub(lambda found: found[1] or f"{float(found[0]):.2f}", drawn.decode())
        return re.sub(r"\n\s+", "\n", _PATH.sub(lambda path: f' d="{_stepwise(path[1])}"', text)).encode()
    made = io.BytesIO()
    image = Image.open(io.BytesIO(drawn)).convert("RGB")
    image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(made, "PNG", optimize=True)
    return made.getvalue()


def _stepwise(path: str) -> str:
    """Write a path relative to its points; in whole hundredths, so that no error adds up."""
    made, begin, at = [], [0, 0], [0, 0]
    for command, numbers in re.findall(r"([MLQCz])([^MLQCz]*)", path):
        points = [round(100 * float(number)) for number in numbers.split()]
        steps = [number - at[i % 2] for i, number in enumerate(points)]
        made.append(command.lower() + " ".join(f"{step / 100:.2f}".rstrip("0").rstrip(".") for step in steps))
        begin = points if command == "M" else begin
        at = points[-2:] or begin
    return re.sub(r"(?<!\d)0\.", ".", "".join(made).replace(" -", "-"))
