#!/usr/bin/env bash
# Run tests, from nothing: an environment, the package, pytest.
#   bash tests/run.sh [options of pytest]            all but the next
#   bash tests/run.sh --faults [options of pytest]   kills, full disks, damage, payloads
#   bash tests/run.sh --fast [options of pytest]     quick unit tests, in 2 minutes
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/venv.sh
make_venv .venv-tests 'lite,tests'
# More threads are slower for small networks, and do not survive the harness's forks.
export OMP_NUM_THREADS=1
case "${1:-}" in
    --faults) shift; set -- tests/faults "$@" ;;
    --fast) shift; set -- --ignore=tests/integration -m 'not slow' "$@" ;;
esac
.venv-tests/bin/python -m pytest "$@"
