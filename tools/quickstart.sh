#!/usr/bin/env bash
# From a clean checkout to a tuned model: makes .venv, trains the embedded mini CLIP on 16 digits per class, tests it.
# Needs no data and, after the first time, no network. Flags go to tools/train.py: --cfg-options num_shots=4, say.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/_environment.sh
prepare_environment

config=configs/mps_mini_16shot_digits.py
work_dir=work_dirs/quickstart
echo "Training: $config (the log is also in $work_dir). Every call trains anew and replaces the checkpoint."
python tools/train.py "$config" --work-dir "$work_dir" --overwrite "$@"

checkpoint=$(<"$work_dir/last_checkpoint")
echo "Testing $checkpoint on digits that were not used for training"
python tools/test.py "$config" "$checkpoint" --work-dir "$work_dir" --out "$work_dir/metrics.json" --out-item metrics
echo "checkpoint  $checkpoint"
echo "metrics     $PWD/$work_dir/metrics.json"
