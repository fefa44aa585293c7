"""The archive that travels: the committed project, data sets, logs to go on with, and packages that may lack there."""

import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

from jahslib import paths
from jahslib.data import image_files, places
from jahslib.errors import UserError

LIMIT = 64 * 2**20  # bytes
PYTHON, PLATFORMS = "3.12", ("manylinux2014_x86_64", *(f"manylinux_2_{n}_x86_64" for n in (12, 17, 24, 27, 28)))
TRACKED = ("jahslib", "notebooks", "benchmarks", "tests", "data", "pyproject.toml", ".git_archival.txt")
DATA = ("micro17flower.tar.gz", *image_files.idx_files("mnist"))
SITE = "site"  # folder of the packages, behind those that are installed there
PACKAGES = (  # what the listed searches import beside torch and what that brings, and the tests
    *("annotated-types", "cloudpickle", "configspace", "joblib", "more-itertools", "narwhals", "pandas", "pillow"),
    *("psutil", "pydantic", "pydantic-core", "python-dateutil", "pyyaml", "scikit-learn", "scipy", "six"),
    *("threadpoolctl", "tqdm", "typing-inspection"),
    *("hypothesis", "iniconfig", "packaging", "pluggy", "pygments", "pytest", "sortedcontainers"),
)
# by cells of the notebooks, which only ask whether they are there; no search of the list imports them
LOOKED_FOR = ("ax", "botorch", "scikit_posthocs", "statsmodels")


def pack(out: Path, logs: Sequence[Path], *, wheels: Path | None = None) -> dict[str, int]:
    """Write the archive; returns the bytes of its parts before compression, and of the whole.

    `wheels`: a folder that holds those of `PACKAGES`; by default they are downloaded in the lock's versions.

    Raises:
        UserError: changes that are not committed, data that are missing, no network, or an archive above `LIMIT`.
    """
    if _git("status", "--porcelain", "--", *TRACKED):
        raise UserError("pack: there are changes that are not committed and would not travel; commit them first")
    missing = [file for file in DATA if places.find([file]) is None]
    if missing:
        raise UserError(f"pack: found no {', '.join(missing)}; give their folder as $JAHSLIB_DATA (data/README.md)")
    part, sizes = out.with_name(f".{out.name}.part"), {}
    try:
        with tempfile.TemporaryDirectory() as scratch, tarfile.open(part, "w:xz", preset=1) as archive:

            def add(kind: str, file: Path, name: Path | str) -> None:
                archive.add(file, str(name))
                sizes[kind] = sizes.get(kind, 0) + file.stat().st_size

            project, site = Path(scratch, "project"), Path(scratch, SITE)
            tracked = Path(scratch, "tracked.tar")
            _git("archive", "-o", str(tracked), "HEAD", *TRACKED)
            with tarfile.open(tracked) as committed:
                committed.extractall(project, filter="data")
            _unpack(wheels or _downloaded(Path(scratch, "wheels")), site)
            for kind, folder, base in (("project", project, project), ("packages", site, site.parent)):
                for file in sorted(f for f in folder.rglob("*") if f.is_file()):
                    add(kind, file, file.relative_to(base))
            for name in DATA:
                add("data", places.obtain(name, [name])[1], f"data/{name}")
            for log in logs:
                add("logs", log, log.relative_to(paths.outputs()))
        sizes["archive"] = part.stat().st_size
        if sizes["archive"] > LIMIT:
            told = ", ".join(f"{kind} {size / 2**20:.1f}" for kind, size in sizes.items())
            raise UserError(f"pack: {told} MiB, where {LIMIT >> 20} may travel; leave out a package or a data set")
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return sizes


def pins(names: Sequence[str]) -> list[str]:
    """Requirements of these packages in the lock's versions for the device's Python.

    Raises:
        UserError: the lock has none of a package.
    """
    there = {**default_environment(), "python_version": PYTHON, "python_full_version": f"{PYTHON}.0"}
    locked = {}
    for line in (paths.ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if re.match(r"\w", line):
            requirement = Requirement(line.rstrip(" \\"))
            if requirement.marker is None or requirement.marker.evaluate(there):
                locked[requirement.name] = f"{requirement.name}{requirement.specifier}"
    if unknown := set(names) - set(locked):
        raise UserError(f"pack: requirements.lock has no {', '.join(sorted(unknown))}")
    return [locked[name] for name in names]


def _downloaded(folder: Path) -> Path:
    chosen = ["--no-deps", "--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}"]
    chosen += [f"--platform={platform}" for platform in PLATFORMS]
    command = [sys.executable, "-m", "pip", "download", "-q", *chosen, "-d", str(folder), *pins(PACKAGES)]
    if subprocess.run(command).returncode:
        raise UserError("pack: pip could not download the packages; give their wheels' folder as --wheels")
    return folder


def _unpack(wheels: Path, site: Path) -> None:
    """Wheels without their tests, and the packages that are only looked for."""
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as content:
            content.extractall(site, [name for name in content.namelist() if "/tests/" not in name])
    for name in LOOKED_FOR:
        paths.write(site / name / "__init__.py", f'raise ImportError("{name} did not travel")\n')


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(paths.ROOT), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"pack: git: {done.stderr.strip()}")
    return done.stdout
