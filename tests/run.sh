#!/usr/bin/env bash
# Run tests, from nothing: an environment, the package, pytest.
#   bash tests/run.sh [options of pytest]            all but the next
#   bash tests/run.sh --faults [options of pytest]   kills, full disks, damage, payloads
#   bash tests/run.sh --fast [options of pytest]     quick unit tests, in 2 to 3 minutes
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/venv.sh
make_venv .venv-tests 'lite,tests'
# One process per core, and each file's tests in one of them.
parallel='-n auto --maxprocesses 4 --dist loadfile'
case "${1:-}" in
    # Threads of torch do not survive a fork.
    --faults) shift; set -- tests/faults "$@"; export OMP_NUM_THREADS=1; parallel='' ;;
    --fast) shift; set -- --ignore=tests/integration -m 'not slow' "$@" ;;
esac
# What needs a GPU is not among these (bash tests/gpu.sh); here all machines give the same numbers.
export CUDA_VISIBLE_DEVICES=''
.venv-tests/bin/python -m pytest $parallel "$@"
