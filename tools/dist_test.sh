#!/usr/bin/env bash
# Test with several processes: tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [flags of tools/test.py]
set -euo pipefail
(($# >= 3)) || { echo "usage: $0 CONFIG CHECKPOINT PROCESSES [flags of tools/test.py]" >&2; exit 2; }
exec bash "$(dirname "$0")/_torchrun.sh" test.py "$3" "$1" "$2" "${@:4}"
