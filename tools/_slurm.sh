#!/usr/bin/env bash
# One torchrun per machine of a Slurm job: tools/_slurm.sh PARTITION JOB_NAME SCRIPT [arguments of the script].
# GPUS (all), GPUS_PER_NODE and CPUS_PER_TASK (per GPU) size the job; SRUN_ARGS goes to srun as it is.
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
partition=$1 job=$2 script=$3
shift 3
# shellcheck source=tools/_numbers.sh
source "$tools/_numbers.sh"
whole_numbers GPUS GPUS_PER_NODE CPUS_PER_TASK
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
if ((gpus % per_node)); then
  echo "error: GPUS=$gpus is no multiple of GPUS_PER_NODE=$per_node" >&2
  exit 2
fi
read -r -a extra <<<"${SRUN_ARGS:-}"
# shellcheck disable=SC2016  # these variables are Slurm's, on the machine where the task runs
on_node='
  export NNODES=$SLURM_NNODES NODE_RANK=$SLURM_NODEID PORT=${PORT:-$((20000 + SLURM_JOB_ID % 20000))}
  if [[ -z ${MASTER_ADDR:-} ]] && ((SLURM_NNODES > 1)); then
    MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    export MASTER_ADDR
  fi
  exec bash "$@"'
exec srun --partition="$partition" --job-name="$job" --nodes=$((gpus / per_node)) --ntasks-per-node=1 \
  --gres="gpu:$per_node" --cpus-per-task=$((per_node * ${CPUS_PER_TASK:-5})) --kill-on-bad-exit=1 \
  ${extra[@]+"${extra[@]}"} bash -c "$on_node" slurm "$tools/_torchrun.sh" "$script" "$per_node" "$@"
