"""The paper's recipe on ImageNet-1K: all of a config but the model."""

_base_ = [
    './datasets/imagenet_multicrop.py',
    './schedules/adamw_300e.py',
    './default_runtime.py',
]

custom_hooks = [
    *_base_.custom_hooks,
    # Only acts when a view-only run is resumed with a config that has regions.
    dict(type='RegionTaskHook'),
    dict(
        type='KNNMonitorHook',
        train_dataloader=_base_.knn_dataloader,
        val_dataloader=_base_.knn_val_dataloader,
        interval=20,
    ),
]
