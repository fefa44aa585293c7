#!/usr/bin/env bash
# Everything: the environment, all notebooks, results/, figs/ and paper.pdf. ./run_all.sh --help lists the options.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export PYTHONUTF8=1  # in whatever locale this is called

given= previous=
for argument in "$@"; do
  case $argument in --python=*) given=${argument#*=} ;; esac
  if [ "$previous" = --python ]; then given=$argument; fi
  previous=$argument
done

base=
for candidate in ${given:+"$given"} python3 python3.14 python3.13 python3.12 python3.11; do
  # what is given has all it needs; the others must be able to make a virtual environment
  if [ "$candidate" = "$given" ]; then modules=sys; else modules="sys, ensurepip, ssl, venv"; fi
  # -P: what lies in the folder that this is called from is never imported
  if "$candidate" -P -c "import $modules; sys.exit(not (3, 11) <= sys.version_info < (3, 15))" 2>/dev/null; then
    base=$candidate
    break
  fi
done
if [ -z "$base" ]; then
  echo "run_all.sh: needs Python 3.11 to 3.14 with its venv module (Debian: python3-venv); or name one with --python" >&2
  exit 2
fi

# Options are checked before anything is installed or written.
checking=
for argument in "$@"; do
  case $argument in
    -h | --help) exec env PYTHONDONTWRITEBYTECODE=1 "$base" -P -m jahslib run --help ;;
    --check) checking=yes ;;
  esac
done
PYTHONDONTWRITEBYTECODE=1 "$base" -P -m jahslib run --check "$@"
if [ -n "$checking" ]; then exit 0; fi

if [ -n "$given" ]; then
  python=$given
else
  python=$("$base" -P -m jahslib.cli.environment)
fi
exec "$python" -P -m jahslib run "$@"
