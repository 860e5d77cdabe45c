# Start a Python program on several processes; sourced by dist_train.sh and
# dist_test.sh. Arguments: number of processes, program, its arguments.
dist_launch() {
    local processes=$1
    shift
    PYTHONPATH="$root:${PYTHONPATH:-}" python -m torch.distributed.run \
        --nnodes="${NNODES:-1}" \
        --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="${PORT:-29500}" \
        --nproc_per_node="$processes" \
        "$@"
}
