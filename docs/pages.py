"""Write what the studies gave as Markdown that a code host shows by itself, with the committed figures.

    python docs/pages.py [PROFILE]    (default: cpu)

A page docs/studies/NN_NAME.md has prose and code of notebooks/, and the outputs of the copy that
`./run_all.sh --profile PROFILE` leaves in results/PROFILE/NN_NAME/executed/; without such a copy the page stays as it
is. docs/figures.md shows all figures.
"""

import ast
import base64
import csv
import io
import itertools
import json
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
from bs4 import BeautifulSoup
from nbformat import NotebookNode
from PIL import Image, ImageOps

from jahslib import paths
from jahslib.errors import UserError

STUDIES = paths.ROOT / "docs" / "studies"
SAME = 12.0  # mean difference of grey values of a figure drawn at two resolutions; that of two figures is larger
# A backslash before punctuation is an escape to Markdown, and some hosts refuse \operatorname.
MACROS = {r"\operatorname": r"\mathrm", r"\ ": r"\; ", r"\,": r"\thinspace ", r"\{": r"\lbrace ", r"\}": r"\rbrace "}


class Committed:
    """The figures and tables of a study that are committed, found by what an output shows of them."""

    def __init__(self, profile: str, notebook: str):
        self.folder = f"figs/{profile}/{notebook}"
        results = paths.ROOT / "results" / profile / notebook
        records = json.loads((results / "records.json").read_text("utf-8"))["records"]
        self.about = {name: record["about"] for name, record in records.items() if record["kind"] == "figure"}
        self.columns: dict[str, list[tuple[str, ...]]] = {}
        for file in results.glob("*.csv"):
            with file.open(newline="", encoding="utf-8") as opened:
                for name, *column in zip(*csv.reader(opened), strict=True):
                    self.columns.setdefault(name, []).append(tuple(column))

    def link(self, name: str, up: str) -> str:
        """Link a figure from a page in the folder from which `up` leads to the root."""
        return f"![{self.about[name]}]({up}{self.folder}/{name}.png)\n\n*{self.about[name]}.*"

    def showing(self, png: bytes) -> str:
        """Name the figure that an output shows.

        Raises:
            UserError: none looks like it.
        """
        image = _grey(io.BytesIO(png))
        far = {name: np.abs(image - _grey(paths.ROOT / self.folder / f"{name}.png")).mean() for name in self.about}
        name = min(far, key=lambda name: far[name])
        if far[name] > SAME:
            raise UserError(f"{self.folder}: no figure there looks like an output of the notebook; run it again")
        return name


def _grey(file: Path | io.BytesIO) -> np.ndarray:
    image = ImageOps.invert(Image.open(file).convert("L"))
    return np.asarray(image.crop(image.getbbox()).resize((96, 64)), float)


def study(notebook: Path, profile: str) -> str:
    """Compose the page of one study.

    Raises:
        UserError: a code cell differs from the one that was executed, or an image is none of the committed figures.
    """
    executed = nbformat.read(paths.results(profile, notebook.stem) / "executed" / notebook.name, as_version=4)
    outputs = {cell.source: cell.outputs for cell in executed.cells if cell.cell_type == "code"}
    committed, parts = Committed(profile, notebook.stem), []
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(prose(cell.source))
        elif cell.source not in outputs:
            raise UserError(f"{notebook.name}: a cell was changed since it was executed; run it again:\n{cell.source}")
        else:
            ignored = "stream" if "nbval-ignore-output" in cell.metadata.get("tags", []) else ""  # progress
            kept = [output for output in outputs[cell.source] if output.output_type != ignored]
            parts += [*code(cell.source), *(shown(output, cell.source, committed) for output in kept)]
    place = f"[notebook](../../notebooks/{notebook.name}) in its profile `{profile}`"
    logs = f"[trial logs and tables](../../results/{profile}/{notebook.stem})"
    title, first = parts[0].split("\n", 1)
    return (
        "\n\n".join([title, f"*The {place}, drawn from its {logs}. Code is folded.*", first.strip(), *parts[1:]]) + "\n"
    )


def prose(text: str) -> str:
    """Rewrite a cell's equations for hosts that read them as Markdown first, and its links for docs/studies/."""

    def portable(found: re.Match) -> str:
        math = found[0]
        for macro, other in MACROS.items():
            math = math.replace(macro, other)
        return f"```math\n{math.strip('$').strip()}\n```" if math.startswith("$$") else math

    return re.sub(r"\$\$.+?\$\$|\$[^$\n]+\$", portable, text, flags=re.DOTALL).replace("](../", "](../../")


def code(source: str) -> list[str]:
    """Fold a cell's code; nothing is left of one that only imports."""
    if all(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.parse(source).body):
        return []
    return [f"<details><summary>Code</summary>\n\n```python\n{source}\n```\n\n</details>"]


def shown(output: NotebookNode, source: str, committed: Committed) -> str:
    """Write one output of the cell `source`: a committed figure, a table or text."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "image/png" in data:
        if ".figure(" not in source:
            return "*A figure to play with: run the notebook.*"
        return committed.link(committed.showing(base64.b64decode(data["image/png"])), "../../")
    if "<table" in data.get("text/html", ""):
        return table(data["text/html"], committed.columns)
    text = data.get("text/plain", "").rstrip()
    return f"```text\n{text}\n```" if text and text != "'records.json'" else ""


def table(html: str, columns: dict[str, list[tuple[str, ...]]]) -> str:
    """Write a table of pandas in Markdown, numbers to the right; an index that only counts is left out.

    A text that pandas cut short is looked up in `columns`, those of that name in the study's tables.
    """
    rows = BeautifulSoup(html, "html.parser").find_all("tr")
    grid: list[dict[int, str]] = [{} for _ in rows]
    for y, row in enumerate(rows):
        for cell in row.find_all(["th", "td"]):
            x = next(x for x in itertools.count() if x not in grid[y])
            for down, right in itertools.product(
                range(int(cell.get("rowspan", 1))), range(int(cell.get("colspan", 1)))
            ):
                grid[y + down][x + right] = " ".join(cell.get_text().split()).replace("|", r"\|")
    lines = [[line[x] for x in sorted(line)] for line in grid]
    levels = lines[: sum(row.parent.name == "thead" for row in rows)]
    index = levels.pop() if len(levels) > 1 and not all(levels[-1]) else [""] * len(lines[0])  # names of its levels
    head = [name or ", ".join(filter(None, column)) for name, *column in zip(index, *levels, strict=True)]
    lines = [head, *(line for line, row in zip(lines, rows, strict=True) if row.parent.name != "thead")]
    if all(line[0] == str(i) for i, line in enumerate(lines[1:])):
        lines = [line[1:] for line in lines]
    for i, line in enumerate(lines[1:]):
        for x, text in enumerate(line):
            if text.endswith("...") and len(text) > 3:
                whole = {c[i] for c in columns.get(lines[0][x], []) if i < len(c) and c[i].startswith(text[:-3])}
                (line[x],) = whole
    lines = [["–" if text in ("NaN", "None") else text for text in line] for line in lines]
    number = re.compile(r"[-–+\d.,e± %]*")
    numeric = [all(number.fullmatch(text) for text in column) for column in zip(*lines[1:], strict=True)]
    rule = ["--:" if is_numeric else "---" for is_numeric in numeric or [False] * len(lines[0])]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def gallery(profile: str) -> str:
    """Compose the page of all figures, by study."""
    parts = ["# All figures", f"Of the profile `{profile}`; `figs/{profile}/` has each as SVG too."]
    for notebook in sorted((paths.ROOT / "notebooks").glob("[0-9]*.ipynb")):
        title = nbformat.read(notebook, as_version=4).cells[0].source.partition("\n")[0].lstrip("# ")
        committed = Committed(profile, notebook.stem)
        parts += [
            f"## [{title}](studies/{notebook.stem}.md)",
            *(committed.link(name, "../") for name in committed.about),
        ]
    return "\n\n".join(parts) + "\n"


def main(profile: str = "cpu") -> None:
    """Write every page of which there is an executed notebook, and the gallery."""
    for notebook in sorted((paths.ROOT / "notebooks").glob("[0-9]*.ipynb")):
        if (paths.results(profile, notebook.stem) / "executed" / notebook.name).exists():
            paths.write(STUDIES / f"{notebook.stem}.md", study(notebook, profile))
            print(f"docs/studies/{notebook.stem}.md")
    paths.write(STUDIES.parent / "figures.md", gallery(profile))


if __name__ == "__main__":
    main(*sys.argv[1:])
