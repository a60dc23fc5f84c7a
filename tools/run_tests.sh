#!/usr/bin/env bash
# Installs into .venv and runs the tests; arguments go to pytest, for example: tools/run_tests.sh tests/test_models -x
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/_environment.sh
prepare_environment tests

python -m pytest "$@"
