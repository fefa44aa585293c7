"""Execute the committed notebooks in place, in smoke, and keep only outputs that every run repeats.

    python notebooks/execute.py [07 ...]

Run it after changing a notebook or what it shows. Trials go to a temporary folder, so that nothing old is read.
"""

import os
import sys
import tempfile
from base64 import b64decode, b64encode
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from jahslib.reporting.figure_files import smaller

HERE = Path(__file__).resolve().parent


def execute(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as results:
        os.environ |= {"JAHSLIB_RESULTS": results, "JAHSLIB_RUN": "1", "PYTHONPATH": str(HERE.parent)}
        place = {"metadata": {"path": str(HERE)}}
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": notebook.metadata.language_info}
    notebook.metadata.language_info.pop("version", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if not _varies(cell, o)]
            for data in (o.data for o in cell.outputs if "image/png" in o.get("data", {})):
                data["image/png"] = b64encode(smaller(b64decode(data["image/png"]), "png")).decode()
    nbformat.write(notebook, path)


def _varies(cell: nbformat.NotebookNode, output: nbformat.NotebookNode) -> bool:
    """Progress lines carry times."""
    return "nbval-ignore-output" in cell.metadata.get("tags", []) and output.output_type == "stream"


if __name__ == "__main__":
    for notebook in sorted(HERE.glob("[0-9]*.ipynb")):
        if not sys.argv[1:] or notebook.name[:2] in sys.argv[1:]:
            print(notebook.name, flush=True)
            execute(notebook)
