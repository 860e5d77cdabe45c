#!/usr/bin/env bash
# Train on several GPUs (or processes of a CPU) of one or more machines.
#   tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# Several machines: run it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
# MAX_RESTARTS=3 starts all processes again, up to three times, when one of them fails
# (a GPU's error, memory); they go on from the newest checkpoint.
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
if [ "${MAX_RESTARTS:-0}" != 0 ]; then
    check_count MAX_RESTARTS "$MAX_RESTARTS"
    case " ${*:3} " in *" --resume"*) ;; *) set -- "$@" --resume ;; esac
fi
dist_launch "$2" "$root/tools/train.py" "$1" --launcher pytorch "${@:3}"
