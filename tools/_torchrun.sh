#!/usr/bin/env bash
# One process per GPU (or, without GPUs, per CPU share): tools/_torchrun.sh SCRIPT PROCESSES [arguments of the script].
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR and PORT, the same on each but for NODE_RANK.
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
script=$1 processes=$2
shift 2
if ! [[ $processes =~ ^[1-9][0-9]*$ ]]; then
  echo "error: the number of processes is '$processes', expected a whole number from 1" >&2
  exit 2
fi
# shellcheck source=tools/_numbers.sh
source "$tools/_numbers.sh"
whole_numbers NNODES PORT
nodes=${NNODES:-1}
if ((nodes > 1)) && [[ -z ${MASTER_ADDR:-} ]]; then
  echo "error: NNODES=$nodes needs MASTER_ADDR, the name or address of the machine with NODE_RANK=0" >&2
  exit 2
fi
if ((nodes > 1)) && ! [[ ${NODE_RANK:-} =~ ^[0-9]+$ && ${NODE_RANK:-} -lt $nodes ]]; then
  echo "error: NNODES=$nodes needs NODE_RANK, another one on each machine, 0 to $((nodes - 1)), but it is" \
    "'${NODE_RANK:-}'" >&2
  exit 2
fi
# Without an active environment, the one that tools/quickstart.sh made.
python=python3 own_python=$(dirname "$tools")/.venv/bin/python
has_torch='import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'
if [[ -x $own_python ]] && ! python3 -c "$has_torch" 2>/dev/null; then
  python=$own_python
fi
port=${PORT:-}
if [[ -z $port ]]; then
  port=29500
  # Alone on this machine nobody else has to know the port, so two runs need not meet on the same one.
  if ((nodes == 1)); then
    port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  fi
fi
# torchrun gives every process one thread unless told otherwise; without GPUs the cores are what there is to share.
if [[ -z ${OMP_NUM_THREADS:-} ]]; then
  cores=$("$python" -c 'import os; print(len(os.sched_getaffinity(0)))')
  export OMP_NUM_THREADS=$((cores / processes > 0 ? cores / processes : 1))
fi
PYTHONPATH=$(dirname "$tools")${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m torch.distributed.run \
  --nnodes="$nodes" --node-rank="${NODE_RANK:-0}" --nproc-per-node="$processes" \
  --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="$port" \
  "$tools/$script" "$@" --launcher pytorch
