#!/usr/bin/env bash
# Train on several GPUs (or processes of a CPU) of one or more machines.
#   tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# Several machines: run it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
# SIGTERM, SIGUSR1 or Ctrl-C: all processes save and end, within ESVIT_SHUTDOWN_SECONDS
# (default 120). A second Ctrl-C ends them at once.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [options of tools/train.py]" >&2
    exit 2
fi
root="$(cd "$(dirname "$0")/.." && pwd)"
source "$root/tools/dist_launch.sh"
check_file config "$1"
check_count GPUS "$2"
dist_launch "$2" "$root/tools/train.py" "$1" --launcher pytorch "${@:3}"
