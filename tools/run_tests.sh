#!/usr/bin/env bash
# Installs into .venv and runs the tests on as many cores as there are; with `all` also the slow ones, whole grids and killed
# trainings; with `quick` only those that take no long time, less than three minutes. Other arguments go to pytest instead, for
# example: tools/run_tests.sh tests/test_models -x
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/_environment.sh
prepare_environment tests

# Files stay whole, since their tests share what is expensive to make; every process needs about 1.5 GB.
parallel=(-n auto --maxprocesses 8 --dist loadfile)
if (($# == 0)) || [[ $* == -q ]]; then
  set -- "${parallel[@]}" -m 'not slow' "$@" tests
elif [[ $1 == quick ]]; then
  set -- "${parallel[@]}" -m 'not slow and not long' "${@:2}" tests
elif [[ $1 == all ]]; then
  set -- "${parallel[@]}" "${@:2}" tests
fi
python -m pytest "$@"
