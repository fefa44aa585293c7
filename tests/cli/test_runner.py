"""Wrong options are refused before anything is written; a failing notebook is seen and does not stop the others."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from jahslib.cli import cost, runner
from jahslib.errors import UserError
from jahslib.optimizers.evolution import Evolution
from jahslib.paths import ROOT
from jahslib.search import Budget, search, triallog
from tests.conftest import Toy

PARAMETERS = "profile, device, workers = 'smoke', 'auto', None\nscheduler = seeds = None\nfresh: bool = False\n"


def write_notebook(path: Path, source: str, parameters: str = "pool_size = 10") -> Path:
    tagged = new_code_cell(PARAMETERS + parameters, metadata={"tags": ["parameters"]})
    notebook = new_notebook(cells=[tagged, new_code_cell(source)])  # as a program writes one, without its language
    path.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Three tiny notebooks and an output folder of their own."""
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    write_notebook(tmp_path / "notebooks" / "01_first.ipynb", "1", "pool_size = 10\nlr = 0.1")
    write_notebook(tmp_path / "notebooks" / "02_second.ipynb", "2", "max_epochs: int = 3")
    write_notebook(tmp_path / "notebooks" / "07_last.ipynb", "7", "# pop_size = 5\nn_init = 4")
    return tmp_path


@pytest.fixture
def good_paper(monkeypatch):
    monkeypatch.setitem(sys.modules, "jahslib.reporting.paper", SimpleNamespace(build=lambda: Path("paper.pdf")))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--profile", "foo"], "--profile: unknown profile 'foo'; choose one of smoke, cpu, paper"),
        (["--profil", "cpu"], "unrecognized arguments: --profil"),
        (["1st.ipynb"], "no notebook '1st.ipynb'; give the path of an .ipynb file"),
        (["--device", "gpu"], "--device: unknown device 'gpu'; choose one of auto, cpu, cuda, cuda:N"),
        (["--device"], "--device: expected one argument"),
        (["--workers", "0"], "--workers: '0' is not a positive whole number"),
        (["--workers", "1.5"], "--workers: '1.5' is not a positive whole number"),
        (["--seeds", "0,one"], "--seeds: '0,one' is not a list of different whole numbers such as 0,1,2"),
        (["--seeds", "0,1,0"], "--seeds: '0,1,0' is not a list of different whole numbers such as 0,1,2"),
        (["--scheduler", "node1:8786"], "--scheduler: 'node1:8786' is not an address such as tcp://host:8786"),
        (["--only", "04"], "--only: unknown notebook '04'; choose from 01_first, 02_second, 07_last"),
        (["--only", "7,"], "--only: unknown notebook ''; choose from 01_first, 02_second, 07_last"),
        (["--python", "/no/such/python"], "--python: '/no/such/python' is not a Python 3.11 to 3.14"),
        (["-p", "pool_size"], "-p/--parameter: 'pool_size' is not of the form NAME=VALUE"),
        (["-p", "seeds=[1]"], "-p/--parameter: seeds has an option of its own: --seeds"),
        (["-p", "lr={1}"], "-p/--parameter: 'lr={1}': give a number, text, list, dict, True, False or None"),
        (
            ["-p", "pool_sise=3"],
            "-p/--parameter: of the selected notebooks, parameter 'pool_sise' is unknown; did you mean 'pool_size'?",
        ),
        (
            ["--only", "7", "-p", "pool_size=3"],
            "-p/--parameter: of the selected notebooks, parameter 'pool_size' is unknown; known: n_init",
        ),
        (
            ["-p", "pop_size=3", "--only", "7"],
            "-p/--parameter: of the selected notebooks, parameter 'pop_size' is unknown; known: n_init",
        ),
    ],
)
@pytest.mark.parametrize("check", [["--check"], []])
def test_wrong_option_is_one_line_and_writes_nothing(argv, message, check, place, capsys):
    before = sorted(place.rglob("*"))
    assert runner.main(argv + check, place / "notebooks") == 2
    printed = capsys.readouterr()
    assert printed.err == f"run_all.sh: {message}\n"
    assert printed.out == ""
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    "content", ["text", '["cells"]', '{"a": 1}', '{"cells": 3}', '{"cells": [3]}', "[" * 100_000, "\ud800"]
)
def test_a_file_that_is_no_notebook_is_one_line(content, place, capsys):
    file = place / "notebooks" / "other.ipynb"
    file.write_text(content, errors="surrogatepass")
    for options in ([], ["-p", "lr=1"], ["--check"]):
        assert runner.main([str(file), *options], place / "notebooks") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "other.ipynb: its cells cannot be read" in line and "give a notebook" in line
    assert list((place / "out").iterdir()) == []


def test_a_device_or_scheduler_that_is_not_there_writes_nothing(place, capsys):
    assert runner.main(["--device", "cuda:99"], place / "notebooks") == 2
    assert "--device: no cuda:99 here" in capsys.readouterr().err
    assert runner.main(["--device", "cpu", "--scheduler", "tcp://127.0.0.1:1"], place / "notebooks") == 2
    assert "--scheduler: nothing answers at tcp://127.0.0.1:1" in capsys.readouterr().err
    assert list((place / "out").iterdir()) == []


def test_notebooks_are_named_by_their_files(place, monkeypatch):
    monkeypatch.chdir(place)
    args = runner.options(["notebooks/07_last.ipynb", "notebooks/01_first.ipynb", "--only", "1"], ROOT / "notebooks")
    assert args.selected == [place / "notebooks" / "01_first.ipynb"] and args.elsewhere
    own = ROOT / "notebooks" / "07_constrained_EA.ipynb"
    args = runner.options([str(own)], place / "notebooks")
    assert args.selected == [own] and not args.elsewhere


def test_options_reach_the_notebooks_that_have_them(place):
    argv = [
        "--seeds",
        "3,1",
        "-p",
        "lr=1e-05",
        "-p",
        "max_epochs=[1, 2]",
        "-p",
        "pool_size=ten",
        "--only",
        "2,01_first",
    ]
    args = runner.options(argv, place / "notebooks")
    assert [path.stem for path in args.selected] == ["01_first", "02_second"]
    assert args.overrides == [{"lr": 1e-05, "pool_size": "ten"}, {"max_epochs": [1, 2]}]
    assert args.seeds == [3, 1]


def test_checking_needs_the_standard_library_only():
    code = "from jahslib.cli import environment, runner; runner.options([], runner.Path(%r))"
    command = [sys.executable, "-S", "-P", "-c", code % str(ROOT / "no notebooks here")]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.stderr.strip().rpartition("UserError: ")[2].startswith(f"no notebook in {ROOT / 'no notebooks here'}; ")


@pytest.mark.slow
def test_failing_notebooks_are_reported_and_do_not_stop_the_others(tmp_path, monkeypatch, capfd, good_paper):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path / "out"))
    # a kernel of the same name that the user's own settings put first must not be taken
    foreign = tmp_path / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "?", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(foreign.parent.parent))
    notebooks = tmp_path / "notebooks"
    write_notebook(notebooks / "01_fails.ipynb", "raise ValueError('broken on purpose')")
    write_notebook(
        notebooks / "02_dies.ipynb",
        "import os, subprocess\n"
        "worker = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "with open('worker', 'w') as file:\n    file.write(str(worker.pid))\n"
        "os.kill(os.getpid(), 9)",
    )
    write_notebook(
        notebooks / "03_passes.ipynb",
        "import os, sys\nfrom jahslib import paths\n"
        f"assert os.path.samefile(sys.prefix, {sys.prefix!r}), sys.prefix\n"
        f"assert os.getcwd() == {str(notebooks)!r}\n"
        f"assert str(paths.ROOT) == {str(ROOT)!r}\n"
        "assert (profile, device, workers, seeds, fresh) == ('cpu', 'cpu', 2, [0, 1], True)\n"
        "assert lr == 1e-05\n"
        "logs = paths.results(profile, '03_passes') / 'logs'\nlogs.mkdir()\n"
        'lines = [\'{"kind": "header"}\', \'{"kind": "trial"}\', \'{"kind": "trial"}\']\n'
        "_ = (logs / 'a.jsonl').write_text('\\n'.join(lines))\n"
        "print('trained', 'well')",
        "lr = 0.1",
    )
    argv = ["--profile", "cpu", "--device", "cpu", "--workers", "2", "--seeds", "0,1", "--fresh", "-p", "lr=1e-05"]
    assert runner.main(argv, notebooks) == 1
    printed = capfd.readouterr().out
    table = {line.split()[0]: line.split()[1:] for line in printed.split("\n\n")[-1].splitlines()}
    assert table["01_fails"][0] == table["02_dies"][0] == "failed"
    assert table["03_passes"][0] == "ok", printed
    assert table["03_passes"][2:4] == ["2", "cpu"]
    assert table["paper.pdf"][0] == "ok"
    assert "[01] ValueError: broken on purpose" in printed
    assert "[03] trained well" in printed

    results = tmp_path / "out" / "results" / "cpu"
    for name in ("01_fails", "02_dies"):
        assert not (results / name / "executed" / f"{name}.ipynb").exists()
    assert "broken on purpose" in (results / "01_fails" / "executed" / "01_fails.log").read_text()
    executed = nbformat.read(results / "03_passes" / "executed" / "03_passes.ipynb", 4)
    assert executed.cells[-1].outputs[0].text == "trained well\n"
    assert not list((results / "03_passes").rglob("*.partial.ipynb"))
    assert not psutil.pid_exists(int((notebooks / "worker").read_text()))


@pytest.mark.slow
def test_an_odd_place_and_environment_change_nothing(tmp_path):
    """No HOME, another locale and time zone, files for their owner alone, blanks and umlauts in every path."""
    odd = tmp_path / "ein Käfer weiß"
    odd.mkdir()
    source = (
        "from jahslib import paths\nfrom jahslib.optimizers.evolution import Evolution\n"
        "from jahslib.search import Budget, search\nfrom tests.toys import Toy\n"
        "log = paths.outputs() / 'größer' / 'a.jsonl'\n"
        "_ = search(Toy(), Evolution(Toy(), 0, pop_size=4), Budget(trials=8), log, seed=0)"
    )
    notebook, logs = write_notebook(odd / "notebooks" / "01_größer.ipynb", source), odd / "größer"
    code = "import os, sys; from pathlib import Path; from jahslib.cli import runner; os.umask(0o077); "
    code += "row = runner._execute(Path(sys.argv[1]), {'profile': 'smoke'}, Path(sys.argv[2]), sys.argv[1], 'cpu'); "
    code += "sys.exit((row.status, row.trials) != ('ok', '8'))"
    env = {name: value for name, value in os.environ.items() if name != "HOME"}
    env |= {
        "LC_ALL": "C",
        "TZ": "Pacific/Kiritimati",
        "PYTHONUTF8": "1",
        "JAHSLIB_RESULTS": str(odd),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run([sys.executable, "-c", code, notebook, logs], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    here = search(Toy(), Evolution(Toy(), 0, pop_size=4), Budget(trials=8), tmp_path / "a.jsonl", seed=0)
    there = triallog.read(logs / "a.jsonl").trials
    assert [(t.suggestion(), t.metrics) for t in there] == [(t.suggestion(), t.metrics) for t in here]


def test_a_failing_paper_is_a_failed_row(place, monkeypatch, capsys):
    def build():
        raise UserError("record 'x' is missing")

    monkeypatch.setitem(sys.modules, "jahslib.reporting.paper", SimpleNamespace(build=build))
    monkeypatch.setattr(runner, "_execute", lambda notebook, *_: runner.Row(notebook.stem, "ok", "0.0"))
    assert runner.main(["--device", "cpu"], place / "notebooks") == 1
    assert "[paper] failed: UserError: record 'x' is missing" in capsys.readouterr().out


@pytest.fixture
def dear(place, monkeypatch):
    """Notebook 01 has 30 days of trainings left, 07 some of unknown length, 02 none."""
    costs = {"01_first": cost.Cost(30 * 86400.0), "07_last": cost.Cost(0.0, 5000.0)}
    monkeypatch.setattr(cost, "left", lambda notebook, parameters: costs.get(notebook.stem, cost.Cost()))
    monkeypatch.setattr(runner, "_execute", lambda notebook, *_: runner.Row(notebook.stem, "ok", "0.0"))
    return ["--profile", "paper", "--device", "cpu", "--workers", "2"]


def test_the_paper_profile_on_a_cpu_says_what_it_takes_and_starts_when_asked(place, dear, capsys, good_paper):
    assert runner.main(dear, place / "notebooks") == 2
    printed = capsys.readouterr()
    told = "--profile paper on a CPU: at least 15 days of training with 2 workers, "
    assert printed.out == "" and printed.err.startswith(f"run_all.sh: {told}") and printed.err.count("\n") == 1
    assert "(01 15 days, 02 0 s, 07 5,000 epochs of unknown length); add --yes to start all the same" in printed.err
    assert list((place / "out").iterdir()) == []
    assert runner.main([*dear, "--yes"], place / "notebooks") == 0
    assert capsys.readouterr().out.startswith(told)


def test_what_takes_no_time_is_not_asked_about(place, dear, capsys, good_paper):
    assert runner.main([*dear, "--only", "2"], place / "notebooks") == 0
    assert "at least" not in capsys.readouterr().out


@pytest.mark.parametrize("script", ["run_all.sh", "run_tests.sh"])
def test_what_lies_in_the_folder_of_the_call_is_not_run(script, tmp_path):
    for name in ("ensurepip", "ssl", "venv", "argparse", "jahslib"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')")
    fake = tmp_path / "bin" / "python3"  # the probe's python; what is probed with it next must not make an environment
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\ncase "$*" in *environment*) exit 3 ;; esac\nexec {sys.executable} "$@"\n')
    fake.chmod(0o755)
    env = os.environ | {"PATH": f"{fake.parent}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [ROOT / script, *(["--only", "3"] if script == "run_all.sh" else [])]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("argv", "code"), [(["--only", "3"], 0), (["--only", "99"], 2)])
def test_checking_makes_no_environment(argv, code, tmp_path):
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\ncase "$*" in *environment*) exit 3 ;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([ROOT / "run_all.sh", *argv, "--check"], env=env, capture_output=True, text=True)
    assert done.returncode == code and done.stderr.count("\n") == (code and 1)


def test_all_well_is_zero(place, monkeypatch, good_paper):
    monkeypatch.setattr(runner, "_execute", lambda notebook, *_: runner.Row(notebook.stem, "ok", "0.0"))
    assert runner.main(["--device", "cpu"], place / "notebooks") == 0


def test_one_run_a_profile(place, capsys):
    folder = place / "out" / "results" / "smoke"
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert runner.main(["--device", "cpu"], place / "notebooks") == 2
    assert f"another run is at work in {folder}" in capsys.readouterr().err


def test_what_a_killed_run_left_behind_is_ended(tmp_path):
    mine = subprocess.Popen(["sleep", "600"], env=os.environ | {"JAHSLIB_RUN": str(tmp_path)})
    other = subprocess.Popen(["sleep", "600"], env=os.environ | {"JAHSLIB_RUN": str(tmp_path / "other")})
    try:
        with runner._lock(tmp_path):
            assert not psutil.pid_exists(mine.pid)
            assert other.poll() is None
    finally:
        mine.kill()
        other.kill()


@pytest.mark.slow
def test_interruption_ends_the_kernel_and_says_how_to_resume(place):
    sleepy = "import os, time\nwith open('kernel', 'w') as file:\n    _ = file.write(str(os.getpid()))\ntime.sleep(600)"
    write_notebook(place / "notebooks" / "01_first.ipynb", sleepy)
    # A test run that a script put in the background ignores interruptions, and what it starts inherits that.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from pathlib import Path; from jahslib.cli import runner; "
    code += "sys.exit(runner.main(['--device', 'cpu'], Path(sys.argv[1])))"
    child = subprocess.Popen(
        [sys.executable, "-c", code, place / "notebooks"], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    pid = place / "notebooks" / "kernel"
    deadline = time.monotonic() + 60
    while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    assert "the same command resumes" in child.communicate(timeout=30)[1]
    assert child.returncode == 130
    assert not psutil.pid_exists(int(pid.read_text()))
