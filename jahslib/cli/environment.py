"""Create or update `.venv` from requirements.lock: `python3 -m jahslib.cli.environment`.

Standard library only: this is the first thing that runs on a fresh machine. pip fetches uv and nothing else: a machine
may be set up to offer pip other builds (a CPU-only torch, say), and uv takes exactly what the lock's hashes name.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jahslib.cli.commands import refuse
from jahslib.errors import UserError
from jahslib.paths import ROOT

UNFINISHED = "unfinished\n"


def make(root: Path = ROOT) -> Path:
    """Bring `root/.venv` up to date with requirements.lock and pyproject.toml; return its Python.

    One whose set-up was interrupted is made again from scratch; concurrent calls take turns.

    Raises:
        UserError: `root` is no copy of the project, or `.venv` was made by something else.
        subprocess.CalledProcessError: a step of the set-up fails.
    """
    if missing := [name for name in ("requirements.lock", "pyproject.toml") if not (root / name).is_file()]:
        raise UserError(
            f"{root} has no {missing[0]}: this jahslib was installed as a package, with what it needs, and nothing is "
            "left to set up; for the notebooks and their environment, run this in a copy of the project"
        )
    venv, stamp = root / ".venv", root / ".venv" / "jahslib.stamp"
    python = venv / "bin" / "python"
    with _one_at_a_time(root / "requirements.lock"):
        parts = [(root / name).read_bytes() for name in ("requirements.lock", "pyproject.toml")]
        wanted = hashlib.sha256(b"\0".join([*parts, os.fsencode(root)])).hexdigest()  # its scripts contain the path
        found = stamp.read_text(encoding="utf-8", errors="surrogateescape") if stamp.exists() else None
        made_of, _, made_at = (found or "").partition("\n")
        if made_of == wanted and python.exists():
            return python
        foreign = found is None and venv.exists() and any(venv.iterdir())
        # Through a link, what is made again would be the environment of another copy.
        if foreign or (venv.is_symlink() and found is not None and made_at != f"{root}\n"):
            raise UserError(f"{venv}: made by something else; remove it, or use it as it is with --python {python}")
        venv.mkdir(exist_ok=True)
        stamp.write_text(UNFINISHED, encoding="utf-8")
        if made_at != f"{root}\n" or not python.exists():
            _say(f"making {venv} with Python {sys.version.split()[0]}")
            for old in filter(stamp.__ne__, venv.iterdir()):
                shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
            _run(sys.executable, "-m", "venv", venv)
            _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv")
        _say("installing requirements.lock (the first time downloads several GB)")
        uv = (python, "-m", "uv", "pip")
        _run(*uv, "sync", "--quiet", "--python", python, "--require-hashes", root / "requirements.lock")
        _run(*uv, "install", "--quiet", "--python", python, "--no-deps", "--no-build-isolation", "--editable", root)
        # Once, here: where Python is told to keep no bytecode each start would compile for 12 s. The command also fails
        # for a template that is no Python, hence without a check, and warns of old code.
        _run(python, "-W", "ignore", "-m", "compileall", "-qq", "-j", "0", venv / "lib", check=False)
        stamp.write_text(f"{wanted}\n{root}\n", encoding="utf-8", errors="surrogateescape")
        _say("ready")
    return python


def _run(*command: str | Path, check: bool = True) -> None:
    # env: neither the repository nor an activated environment may shadow the one being made
    # cwd: uv reads the configuration of its folder; stdout: reserved for the path that the scripts read
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    subprocess.run([str(part) for part in command], env=env, cwd=ROOT, stdout=sys.stderr, check=check)


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with path.open("r+") as file:  # opened for writing because a lock on NFS needs it
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for another set-up to finish")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    print(f"set-up: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Print the environment's Python; returns 0, 1 a step failed, 2 not ours or not writable, 130 Ctrl-C."""
    try:
        print(make())
    except (UserError, OSError) as error:
        return refuse("set-up", error)
    except subprocess.CalledProcessError as error:
        print(f"set-up: failed ({error}); see the lines above, mend the cause and run it again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up: interrupted; the same command does it again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
