"""What an installed wheel weighs, extra by extra, and that README's examples run with it: needs a network.

    python -m benchmarks.installing [--extras core,grammars,smac] [--folder FOLDER]

The wheel is built from a copy of the sources, and each environment is made anew, outside of the repository and with
nothing of it on the path. pip takes what this machine offers it, which may be a torch for CPUs alone.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PathDistribution
from pathlib import Path

from jahslib.paths import ROOT

QUADRATIC, GRAMMAR = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
IMAGES = "from jahslib.data.registry import load\nload('mnist5k', 'train')\nimport jahslib.problems.growing_convnet"


def quadratic(optimizer: str, budget: str = "epochs=500") -> str:
    """README's first example with another optimizer."""
    code = QUADRATIC.replace("import Evolution", f"import Evolution, {optimizer}")
    return code.replace("ea_hb, Budget(epochs=500)", f"{optimizer}, Budget({budget})")


EXAMPLES = {  # extra -> what runs with it alone
    "core": QUADRATIC + GRAMMAR.replace("GrammarBO", "RegularizedEvolution"),
    "grammars": GRAMMAR,
    "smac": quadratic("SmacBohb"),
    "optuna": quadratic("OptunaSampler"),
    "ax": quadratic("AxBO", "trials=8"),
    "training": IMAGES,
    "notebooks": "import jahslib.analysis.methods, jahslib.experiments.study, jahslib.figures.panels",
}


def call(*command: str | Path, folder: Path) -> None:
    """Run a command with none of this repository in sight."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "JAHSLIB_", "VIRTUAL_ENV"))}
    subprocess.run([str(part) for part in command], cwd=folder, env=env, stdout=subprocess.DEVNULL, check=True)


def wheel(folder: Path) -> Path:
    sources = folder / "sources"
    shutil.copytree(ROOT / "jahslib", sources / "jahslib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, sources, folder=folder)
    (built,) = folder.glob("jahslib-*.whl")
    return built


def measure(extra: str, built: Path, folder: Path) -> str:
    """A row of the table, once the extra's example has run."""
    place = folder / extra
    call(sys.executable, "-m", "venv", "--clear", place, folder=folder)
    python = place / "bin" / "python"
    (site,) = place.glob("lib/python*/site-packages")
    empty = size(site)
    wanted = f"jahslib[{extra}] @ {built.as_uri()}" if extra != "core" else built
    call(python, "-m", "pip", "install", "--quiet", wanted, folder=folder)
    packages = [PathDistribution(info).name for info in site.glob("*.dist-info")]
    example = place / "example.py"
    example.write_text(EXAMPLES[extra])
    call(python, "-P", example, folder=place)
    count = len(packages) - len({"pip", "setuptools"} & set(packages))
    name = "core" if extra == "core" else f"`{extra}`"
    return f"| {name} | {count} | {(size(site) - empty) / 1e6:,.0f} |"


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extras", default=",".join(EXAMPLES), help="those to install, each alone")
    parser.add_argument("--folder", type=Path, help="receives the environments (default: one that is removed)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        built = wheel(folder)
        print(f"{built.name}: {built.stat().st_size / 1e3:.0f} kB\n")
        print("| extra | packages | MB |\n|---|---|---|", flush=True)
        for extra in options.extras.split(","):
            print(measure(extra, built, folder), flush=True)
