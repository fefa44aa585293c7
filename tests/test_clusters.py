"""The recipe of docs/clusters.md: the job script that it submits, and a search through jobs that Slurm would start."""

import os
import re
import subprocess
import sys

import pytest

from jahslib.paths import ROOT
from jahslib.search import triallog

PAGE, README = (ROOT / "docs" / "clusters.md").read_text(), (ROOT / "README.md").read_text()
RECIPE = next(code for code in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL) if "SLURMCluster(" in code)
PROBLEM = next(
    code for code in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL) if "class Quadratic" in code
)

SBATCH = """#!/bin/sh
cp "$1" job.sh
nohup sh job.sh >worker.log 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill "$@" 2>/dev/null; true
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The recipe beside its problem, with commands that stand for Slurm's: a job begins at once on this machine."""
    pytest.importorskip("dask_jobqueue")
    (tmp_path / "quadratic.py").write_text(PROBLEM.partition("ea_hb =")[0])
    small = {"WORKERS = 8": "WORKERS = 1", "epochs=500": "epochs=60", "cores=1,": 'cores=1, interface="lo",'}
    recipe = RECIPE
    for here, there in small.items():
        assert here in recipe
        recipe = recipe.replace(here, there)
    (tmp_path / "search_on_slurm.py").write_text(recipe)
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, script in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (commands / name).write_text(script)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path / "dask"))
    return tmp_path


def test_the_recipe_searches_through_the_jobs_that_it_submits(folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "search_on_slurm.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    logged = triallog.read(folder / "quadratic.jsonl")
    assert logged.end["reason"] == "epochs" and any(trial.parent is not None for trial in logged.trials)
    assert {trial.worker for trial in logged.trials}.isdisjoint({f"pid {os.getpid()}"})
    script = (folder / "job.sh").read_text()
    for line in (
        "#SBATCH --cpus-per-task=1",
        "#SBATCH --mem=4G",
        "#SBATCH -t 08:00:00",
        'export PYTHONPATH="$PWD:$PYTHONPATH"',
    ):
        assert line in script.splitlines()
    assert re.search(rf"^{re.escape(sys.executable)} -m \S*dask\S* tcp://127.0.0.1:\d+ .*--nthreads 1 ", script, re.M)
