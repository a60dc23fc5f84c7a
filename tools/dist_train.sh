#!/usr/bin/env bash
# Train with several processes: tools/dist_train.sh CONFIG PROCESSES [flags of tools/train.py]
set -euo pipefail
(($# >= 2)) || { echo "usage: $0 CONFIG PROCESSES [flags of tools/train.py]" >&2; exit 2; }
exec bash "$(dirname "$0")/_torchrun.sh" train.py "$2" "$1" "${@:3}"
