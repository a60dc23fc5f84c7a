#!/usr/bin/env bash
# Installs into .venv and runs the tests, all of them on as many cores as there are; arguments go to pytest instead, for
# example: tools/run_tests.sh tests/test_models -x
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/_environment.sh
prepare_environment tests

if (($# == 0)) || [[ $* == -q ]]; then
  # Files stay whole, since their tests share what is expensive to make; every process needs about 1.5 GB.
  set -- -n auto --maxprocesses 8 --dist loadfile "$@"
fi
python -m pytest "$@"
