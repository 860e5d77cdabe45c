#!/usr/bin/env bash
# Run what needs a GPU, then the benchmarks; without a GPU one line says so.
#   bash tests/gpu.sh [--out FOLDER] [options of pytest]
# --out keeps what is printed in FOLDER/gpu.log. PYTHON names an interpreter that has
# the packages; without it there is an environment of its own, as in tests/run.sh.
# ESVIT_GPU_TESTS_DEVICE=cpu rehearses the tests on a CPU.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-}
if [ "${1:-}" = --out ]; then
    out=$2
    shift 2
fi
device=${ESVIT_GPU_TESTS_DEVICE:-cuda}
if [ "$device" = cuda ] && {
    [[ "${CUDA_VISIBLE_DEVICES-unset}" =~ ^(-1.*)?$ ]] || ! nvidia-smi -L 2>/dev/null | grep -q GPU
}; then
    echo 'tests/gpu.sh: no GPU is in reach (nvidia-smi -L, CUDA_VISIBLE_DEVICES); nothing is run.'
    exit 0
fi
if [ -n "$out" ]; then
    mkdir -p "$out"
    exec > >(tee "$out/gpu.log") 2>&1
fi
if [ -z "${PYTHON:-}" ] || ! "$PYTHON" -c 'import torch, mmpretrain' 2>/dev/null; then
    source tools/venv.sh
    make_venv .venv-tests 'lite,tests'
    PYTHON=.venv-tests/bin/python
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
"$PYTHON" -c 'import torch; print("torch", torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else "on a CPU")'
failed=0
# In the order of their names.
"$PYTHON" -m pytest tests/gpu --durations=10 "$@" || failed=$?
if [ "$device" = cuda ]; then
    short='--device cuda --rounds 3'
    "$PYTHON" benchmarks/step.py $short --batch-size 16 --only plain ours 'ours, bfloat16' backbones || failed=1
    "$PYTHON" benchmarks/backbone.py $short --only mmpretrain timm ours || failed=1
    "$PYTHON" benchmarks/heads.py $short --only plain ours || failed=1
    "$PYTHON" benchmarks/knn.py $short --only plain ours || failed=1
fi
exit "$failed"
