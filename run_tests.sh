#!/usr/bin/env bash
# Lint, types, unit tests and the committed notebooks: ./run_tests.sh [--python PATH] [arguments of pytest for tests/]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export PYTHONUTF8=1  # in whatever locale this is called
case ${JAHSLIB_DATA:-/} in /*) ;; *) export JAHSLIB_DATA=$PWD/$JAHSLIB_DATA ;; esac

python=
case ${1:-} in
  -h | --help)
    sed -n '2s/^# //p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
  --python=*)
    python=${1#*=}
    shift
    ;;
  --python)
    python=${2:-}
    shift $(($# < 2 ? $# : 2))
    ;;
  *) python=set-up ;;
esac

# -P: what lies in the folder that this is called from is never imported
usable() { "$1" -P -c "import $2; sys.exit(not (3, 11) <= sys.version_info < (3, 15))" 2>/dev/null; }
if [ "$python" = set-up ]; then
  base=
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if usable "$candidate" "sys, ensurepip, ssl, venv"; then
      base=$candidate
      break
    fi
  done
  if [ -z "$base" ]; then
    echo "run_tests.sh: needs Python 3.11 to 3.14 with its venv module (Debian: python3-venv); or name one with --python" >&2
    exit 2
  fi
  python=$("$base" -P -m jahslib.cli.environment)
elif ! usable "$python" "sys, pytest"; then
  echo "run_tests.sh: --python: '$python' is not a Python 3.11 to 3.14 with pytest" >&2
  exit 2
fi
python=$(command -v "$python")
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")

cd "$root"
# No test reads an earlier run's records or touches the committed ones.
JAHSLIB_RESULTS=$(mktemp -d)
export JAHSLIB_RESULTS
# The tests' networks are tiny: a second thread gains nothing and, where cores are shared, loses minutes.
export OMP_NUM_THREADS=1
trap 'rm -rf "$JAHSLIB_RESULTS"' EXIT

failed=()
step() {
  local name=$1
  shift
  printf '\n== %s\n' "$name"
  "$@" || failed+=("$name")
}
step "ruff check" "$python" -m ruff check .
step "ruff format" "$python" -m ruff format --check .
step "pyright" "$python" -m pyright --pythonpath "$python"
# Whole files and whole notebooks go side by side; each process holds torch, hence the limit.
side_by_side=(-n auto --maxprocesses 4 --dist loadfile)
step "unit tests" "$python" -m pytest "${side_by_side[@]}" "$@"
if compgen -G "notebooks/*.ipynb" >/dev/null; then
  # JUPYTER_PATH: the kernel is this environment's, whatever kernels the user has installed
  step "notebooks" env JUPYTER_PATH="$("$python" -P -c 'import sys; print(sys.prefix)')/share/jupyter" \
    "$python" -m pytest "${side_by_side[@]}" --nbval --nbval-current-env --nbval-cell-timeout=600 notebooks
else
  printf '\n== notebooks: none yet, so none was run\n'
fi

echo
if [ ${#failed[@]} -gt 0 ]; then
  printf 'run_tests.sh: failed: %s\n' "$(IFS=,; echo "${failed[*]}")"
  exit 1
fi
echo "run_tests.sh: all steps passed"
