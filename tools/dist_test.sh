#!/usr/bin/env bash
# Test on several GPUs (or processes of a CPU) of one or more machines.
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# Several machines: run it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [options of tools/test.py]" >&2
    exit 2
fi
root="$(cd "$(dirname "$0")/.." && pwd)"
source "$root/tools/dist_launch.sh"
check_file config "$1"
check_file checkpoint "$2"
check_count GPUS "$3"
dist_launch "$3" "$root/tools/test.py" "$1" "$2" --launcher pytorch "${@:4}"
