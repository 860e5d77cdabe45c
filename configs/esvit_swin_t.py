"""EsViT, Swin-T, window 7, L_V + L_R on ImageNet-1K, 300 epochs, batch 512.

    tools/dist_train.sh configs/esvit_swin_t.py 8

Published: 78.0 % linear, 75.7 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = [
    '_base_/models/esvit_swin_t.py',
    '_base_/datasets/imagenet_multicrop.py',
    '_base_/schedules/adamw_300e.py',
    '_base_/default_runtime.py',
]

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='KNNMonitorHook',
        train_dataloader=_base_.knn_dataloader,
        val_dataloader=_base_.knn_val_dataloader,
        interval=20,
    ),
]
