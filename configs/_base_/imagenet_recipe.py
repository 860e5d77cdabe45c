"""The paper's recipe on ImageNet-1K: all of a config but the model."""

_base_ = [
    './datasets/imagenet_multicrop.py',
    './schedules/adamw_300e.py',
    './default_runtime.py',
]

# Published numbers are of epochs 240 to 300 (configs/linear, configs/knn), so every
# 10th of the last third stays, whatever max_epochs: of 300 epochs 11 files, of 1.2 GB
# each for Swin-T, 2.2 GB for Swin-B.
default_hooks = dict(
    milestone=dict(
        type='AtomicCheckpointHook',
        interval=10,
        save_begin=2 / 3,
        filename_tmpl='milestone_{}.pth',
        save_last=False,
    )
)
custom_hooks = [
    *_base_.custom_hooks,
    # Only acts when a view-only run is resumed with a config that has regions. Its
    # optimiser then begins without moments, as in the released runs.
    dict(type='RegionTaskHook', reset_optimizer=True),
    dict(
        type='KNNMonitorHook',
        train_dataloader=_base_.knn_dataloader,
        val_dataloader=_base_.knn_val_dataloader,
        interval=20,
    ),
]
