"""The paper's recipe (Section 4): AdamW, 300 epochs, batch 512."""

optim_wrapper = dict(
    type='PerParamClipOptimWrapper',
    constructor='MatrixDecayOptimWrapperConstructor',
    # lr = 5e-4 x batch / 256, at the batch of auto_scale_lr below.
    optimizer=dict(
        type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.04, fused=True
    ),
    clip_grad=dict(max_norm=3.0),
)
# 8 GPUs x 64 images. With another batch add --auto-scale-lr to the command.
auto_scale_lr = dict(base_batch_size=512, enable=False)

# Without an end the schedules end with the training, train_cfg.max_epochs.
param_scheduler = [
    dict(
        # From (almost) 0; from exactly 0 mmengine's scheduler divides by it.
        type='LinearLR',
        start_factor=1e-9,
        begin=0,
        end=10,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        begin=10,
        convert_to_iter_based=True,
    ),
    dict(
        # 0.04 to 0.4; a ratio, so that groups without decay stay at 0.
        type='CosineAnnealingParamScheduler',
        param_name='weight_decay',
        eta_min_ratio=10,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=300)

custom_hooks = [
    dict(type='EMATeacherHook', momentum=0.996),
    dict(
        type='TeacherTempHook',
        warmup_teacher_temp=0.04,
        teacher_temp=0.07,
        warmup_epochs=30,
    ),
    dict(type='FreezeLastLayerHook', freeze_epochs=1),
    dict(type='RandomStateHook'),
    dict(type='TrainingMonitorHook'),
]
