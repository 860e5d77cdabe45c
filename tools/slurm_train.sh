#!/usr/bin/env bash
# Train on a Slurm cluster.
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=10] [SRUN_ARGS=...] \
#       tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]
# CPUS_PER_TASK is that of the configs' loader workers. The processes meet at a port that
# follows from the job's number, or at MASTER_PORT.
# SRUN_ARGS='--signal=USR1@120' makes Slurm send SIGUSR1 120 seconds before the time
# limit: all processes save a checkpoint and end, and the same command with --resume goes
# on. Choose more seconds where a step or writing a checkpoint takes long.
set -euo pipefail
if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]" >&2
    exit 2
fi
root="$(cd "$(dirname "$0")/.." && pwd)"
source "$root/tools/dist_launch.sh"
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
check_file config "$3"
check_count GPUS "$gpus"
check_count GPUS_PER_NODE "$per_node"
check_count CPUS_PER_TASK "${CPUS_PER_TASK:-10}"
# A job smaller than a node asks for no more than it uses.
per_node=$((gpus < per_node ? gpus : per_node))
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
# SRUN_ARGS holds several words.
# shellcheck disable=SC2086
exec srun \
    --partition="$1" \
    --job-name="$2" \
    --gres="gpu:$per_node" \
    --ntasks="$gpus" \
    --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-10}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    python -u "$root/tools/train.py" "$3" --work-dir "$4" --launcher slurm "${@:5}"
