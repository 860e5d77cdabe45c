# Check the arguments of dist_train.sh and dist_test.sh, which source this, and start a
# Python program on several processes.

# Arguments: what the number is for, the number.
check_count() {
    if ! [[ "$2" =~ ^[1-9][0-9]*$ ]]; then
        echo "error: $1 must be a whole number above 0, got '$2'" >&2
        exit 2
    fi
}

# Arguments: what it is, its path. A config may have moved into a folder, or be given by
# its name.
check_file() {
    if [ "$1" = config ] && [[ "$2" =~ ^[A-Za-z0-9_]+$ ]] &&
        [ -n "$(find "$root/configs" -name _base_ -prune -o -name "$2.py" -print)" ]
    then
        return
    fi
    if [ ! -f "$2" ]; then
        local found
        found=$(find "$root/configs" -name _base_ -prune -o -name "${2##*/}" -print)
        echo "error: there is no $1 $2${found:+; this package has ${found#"$PWD/"}}" >&2
        exit 2
    fi
}

# Arguments: number of processes, program, its arguments. Does not come back: signals
# reach Python, which passes them on (see esvit_plugin/engine/dist_run.py).
dist_launch() {
    local processes=$1
    shift
    export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
    exec python -m esvit_plugin.engine.dist_run \
        --nnodes="${NNODES:-1}" \
        --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="${PORT:-29500}" \
        --nproc_per_node="$processes" \
        --max_restarts="${MAX_RESTARTS:-0}" \
        "$@"
}
