#!/usr/bin/env bash
# Run all tests, from nothing: an environment, the package, pytest.
#   bash tests/run.sh [options of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/venv.sh
make_venv .venv-tests 'lite,tests'
.venv-tests/bin/python -m pytest "$@"
