default_scope = 'mmpretrain'
custom_imports = dict(imports=['esvit_plugin'])
# Goes on inside an epoch, from whole checkpoints only; mmpretrain's tools take it, too.
runner_type = 'EsViTRunner'

default_hooks = dict(
    runtime_info=dict(type='LazyRuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # Every epoch: it is where a run that was stopped goes on with --resume.
    checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=3),
    # Random states in checkpoints, seeded images: a resumed run is the same run.
    random_state=dict(type='RandomStateHook'),
    # Stops at the first loss or weight that is not finite.
    finite_guard=dict(type='FiniteGuardHook'),
    # Logs gradient norms of the first and the last layer, and warns of spikes.
    gradient_monitor=dict(type='GradientMonitorHook'),
    # Ends with a checkpoint when signalled. Also one every hour: minutes=60, or every
    # 1000 iterations: interval=1000.
    recovery=dict(type='RecoveryHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # Seconds after which processes give up on one that does not answer.
    dist_cfg=dict(backend='nccl', timeout=1800),
)
visualizer = dict(
    type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)
log_level = 'INFO'
load_from = None
resume = False
# As in the authors' program, all processes draw the same stochastic depth; with
# diff_rank_seed=True each draws its own.
randomness = dict(seed=0)

# Backbones with batch norm use the batch of all GPUs, student and teacher alike.
sync_bn = 'torch'
