"""MoCo-v3 (arXiv 2104.02057) on ImageNet-1K: all of a config but the backbone.

The authors' recipe for ViTs: AdamW, learning rate 1.5e-4 x batch / 256, weight decay 0.1
on all that is trained, biases and norms too, no clipping, 40 epochs of warm-up, 300
epochs. Necks, head and loss are mmpretrain's, the momentum encoder is the program's
(ReleasedMoCoV3). The batch is that of the authors' runs on one machine.
"""

_base_ = [
    './datasets/imagenet_multicrop.py',
    './schedules/warmup40_300e.py',
    './default_runtime.py',
]

temperature = 0.2
# One device's batch norms here; sync_bn of the runtime joins those of all GPUs.
norm_cfg = dict(type='BN1d')
model = dict(
    type='ReleasedMoCoV3',
    # One less the paper's: 0.99 to 1 by a cosine, in every iteration
    base_momentum=0.01,
    data_preprocessor=dict(
        type='ViewListDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    neck=dict(
        type='NonLinearNeck',
        in_channels=768,
        hid_channels=4096,
        out_channels=256,
        num_layers=3,
        with_last_bn_affine=False,
        norm_cfg=norm_cfg,
    ),
    head=dict(
        type='MoCoV3Head',
        predictor=dict(
            type='NonLinearNeck',
            in_channels=256,
            hid_channels=4096,
            out_channels=256,
            num_layers=2,
            with_last_bn_affine=False,
            with_avg_pool=False,
            norm_cfg=norm_cfg,
        ),
        loss=dict(type='CrossEntropyLoss', loss_weight=2 * temperature),
        temperature=temperature,
    ),
)

train_pipeline = [
    dict(type='LoadImage', on_error='skip'),
    dict(
        type='MultiCrop',
        views=[
            dict(size=224, scale=(0.08, 1.0), augment=dict(blur_prob=1.0)),
            dict(
                size=224,
                scale=(0.08, 1.0),
                augment=dict(blur_prob=0.1, solarize_prob=0.2),
            ),
        ],
        interpolation='bilinear',
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(
    type='OptimWrapper',
    # 8 GPUs x 128 images: 1.5e-4 x 1024 / 256. No paramwise_cfg: all decays.
    optimizer=dict(type='AdamW', lr=6e-4, weight_decay=0.1, fused=True),
)
auto_scale_lr = dict(base_batch_size=1024, enable=False)
custom_hooks = [
    dict(type='RandomStateHook'),
    dict(
        type='KNNMonitorHook',
        train_dataloader=_base_.knn_dataloader,
        val_dataloader=_base_.knn_val_dataloader,
        interval=20,
    ),
]
