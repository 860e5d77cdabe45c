#!/usr/bin/env bash
# Train on a Slurm cluster.
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS=...] \
#       tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]
set -euo pipefail
if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]" >&2
    exit 2
fi
root="$(cd "$(dirname "$0")/.." && pwd)"
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
# A job smaller than a node asks for no more than it uses.
per_node=$((gpus < per_node ? gpus : per_node))
# SRUN_ARGS holds several words.
# shellcheck disable=SC2086
PYTHONPATH="$root:${PYTHONPATH:-}" srun \
    --partition="$1" \
    --job-name="$2" \
    --gres="gpu:$per_node" \
    --ntasks="$gpus" \
    --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    python -u "$root/tools/train.py" "$3" --work-dir "$4" --launcher slurm "${@:5}"
