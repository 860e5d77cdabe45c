#!/usr/bin/env bash
# Everything from nothing: an environment, the package, a few minutes of training on
# the photographs that scikit-image and scikit-learn ship, numbers and pictures.
#   bash tools/quickstart.sh [options of tools/quickstart.py]
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/venv.sh
make_venv .venv 'lite,demo'
exec .venv/bin/python tools/quickstart.py "$@"
