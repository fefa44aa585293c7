"""The environments of peers that the library's own does not hold: `python -m benchmarks.peers.environments [FOLDER]`.

One for each lock here, made as the library's is: pip fetches uv, which takes exactly what the lock's hashes name.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = HERE / ".venv"
LOCKS = {"peers": HERE / "requirements-peers.lock", "dehb": HERE / "requirements-dehb.lock"}


def make(name: str, folder: Path = FOLDER) -> Path:
    """The Python of the environment `name`, made or made anew where the lock is another than it was made from.

    Raises:
        subprocess.CalledProcessError: a step failed; the next call makes it again.
    """
    venv = folder / name
    python, stamp = venv / "bin" / "python", venv / "lock.sha256"
    wanted = hashlib.sha256(LOCKS[name].read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"making the environment {name} of {LOCKS[name].name}", file=sys.stderr)
    _run(sys.executable, "-m", "venv", "--clear", venv)
    _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv")
    _run(python, "-m", "uv", "pip", "sync", "--quiet", "--python", python, "--require-hashes", LOCKS[name])
    stamp.write_text(wanted)
    return python


def _run(*command: str | Path) -> None:
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    subprocess.run([str(part) for part in command], env=env, stdout=sys.stderr, check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m benchmarks.peers.environments", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    folder = parser.parse_args().folder
    for name in LOCKS:
        print(make(name, folder))
