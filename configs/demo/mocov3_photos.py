"""A small MoCo v3 on the 16 photographs that scikit-image and scikit-learn ship.

    python tools/train.py configs/demo/mocov3_photos.py

A few minutes on two CPU cores. A ViT of 12 heads, as MoCo v3's, on patches of 8 px;
images, views and evaluation are those of esvit_swin_photos.py.
"""

_base_ = ['../_base_/mocov3_imagenet.py']

hid_channels = 512
model = dict(
    # A short run needs a momentum encoder that follows faster.
    base_momentum=0.05,
    backbone=dict(
        type='MoCoV3VisionTransformer',
        arch=dict(embed_dims=192, num_layers=4, num_heads=12, feedforward_channels=384),
        img_size=64,
        patch_size=8,
        stop_grad_conv1=True,
    ),
    neck=dict(in_channels=192, hid_channels=hid_channels, with_avg_pool=False),
    head=dict(predictor=dict(hid_channels=hid_channels)),
)

# Up to 2 px of blur would leave no texture of 64 px.
blur_radius = (0.1, 0.6)
train_pipeline = [
    dict(
        type='MultiCrop',
        views=[
            dict(
                size=64,
                scale=(0.2, 1.0),
                augment=dict(blur_prob=1.0, blur_radius=blur_radius),
            ),
            dict(
                size=64,
                scale=(0.2, 1.0),
                augment=dict(blur_prob=0.1, blur_radius=blur_radius, solarize_prob=0.2),
            ),
        ],
    ),
    dict(type='PackInputs'),
]
# Of images of one's own, esvit knn --data
eval_pipeline = [
    dict(type='LoadImage', on_error='skip'),
    dict(
        type='ResizeEdge',
        scale=73,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=64),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    dataset=dict(
        _delete_=True, type='BundledPhotos', split='train', pipeline=train_pipeline
    ),
)
knn_train, knn_val = (
    dict(
        batch_size=128,
        num_workers=0,
        dataset=dict(
            type='BundledPhotos', split=split, pipeline=[dict(type='PackInputs')]
        ),
    )
    for split in ('train', 'test')
)
knn_dataloader = dict(knn_train, _delete_=True)
knn_val_dataloader = dict(knn_val, _delete_=True)

train_cfg = dict(max_epochs=10)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = [
    dict(_base_.param_scheduler[0], end=2),
    dict(_base_.param_scheduler[1], begin=2),
]
custom_hooks = [
    dict(type='RandomStateHook'),
    dict(
        type='KNNMonitorHook',
        train_dataloader=knn_train,
        val_dataloader=knn_val,
        interval=2,
        ks=(10, 20),
    ),
]
default_hooks = dict(logger=dict(interval=12))
