default_scope = 'mmpretrain'
custom_imports = dict(imports=['esvit_plugin'])

default_hooks = dict(
    runtime_info=dict(type='LazyRuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # Every epoch: it is where a run that was stopped goes on with --resume.
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
visualizer = dict(
    type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)

# Backbones with batch norm use the batch of all GPUs, student and teacher alike.
sync_bn = 'torch'
