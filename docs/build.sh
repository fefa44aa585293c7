#!/usr/bin/env bash
# Build the site into docs/_build/html: docs/build.sh [PYTHON] (default: the environment of run_all.sh). Warnings are errors.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONUTF8=1
python=${1:-$(PYTHONPATH=$PWD python3 -P -m jahslib.cli.environment)}
# Beside the library's environment, not in it; by the lock's digest, so that another lock is installed anew.
packages=$PWD/docs/_build/packages-$(sha256sum docs/requirements.lock | cut -c1-12)
if [ ! -e "$packages/done" ]; then
  rm -rf "$packages"
  "$python" -m pip install --quiet --no-deps --require-hashes --target "$packages" -r docs/requirements.lock
  touch "$packages/done"
fi
rm -rf docs/api docs/_build/html
PYTHONPATH=$packages:$PWD "$python" -P -m sphinx -q -W --keep-going -c docs -d docs/_build/doctrees . docs/_build/html
echo "docs/_build/html/index.html"
