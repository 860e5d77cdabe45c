#!/usr/bin/env bash
# Build the documentation site, from nothing: an environment, the package, Sphinx.
#   bash docs/build.sh [options of sphinx-build]
# Every warning is an error. Nothing but the packages is downloaded.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/venv.sh
make_venv .venv-docs 'lite,docs'
.venv-docs/bin/python -m sphinx -b html -W --keep-going "$@" docs docs/_build
echo "Open docs/_build/index.html"
