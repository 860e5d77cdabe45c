"""A small EsViT on your own folder of images, on a CPU; labels are not needed.

    python tools/train.py configs/demo/esvit_swin_folder_laptop.py \
        --cfg-options data_root=/path/to/images

A Swin of 5.1M parameters, views of 96 and 48 px, 1024 prototypes. For a first look at
one's own images; esvit_swin_folder.py is for one GPU.
"""

_base_ = ['./esvit_swin_folder.py']

data_root = ''  # given on the command line

model = dict(
    backbone=dict(
        _delete_=True,
        type='EsViTSwin',
        arch=dict(embed_dims=48, depths=[2, 2, 2, 2], num_heads=[2, 4, 8, 16]),
        img_size=96,
        window_size=6,
        drop_path_rate=0.0,
    ),
    neck=dict(in_channels=384, out_channels=1024, hidden_channels=512),
    region_neck=dict(in_channels=384, out_channels=1024, hidden_channels=512),
)

# The paper blurs 224 px by up to 2 px, which would leave little of 96 px.
blur_radius = (0.1, 0.9)
train_pipeline = [
    dict(type='LoadImage', on_error='skip'),
    dict(
        type='MultiCrop',
        views=[
            dict(
                size=96,
                scale=(0.4, 1.0),
                num_views=1,
                augment=dict(blur_prob=1.0, blur_radius=blur_radius),
            ),
            dict(
                size=96,
                scale=(0.4, 1.0),
                num_views=1,
                augment=dict(blur_prob=0.1, blur_radius=blur_radius, solarize_prob=0.2),
            ),
            dict(
                size=48,
                scale=(0.05, 0.4),
                num_views=4,
                augment=dict(blur_prob=0.5, blur_radius=blur_radius),
            ),
        ],
    ),
    dict(type='PackInputs'),
]
eval_pipeline = [
    dict(type='LoadImage', on_error='skip'),
    dict(
        type='ResizeEdge',
        scale=110,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=96),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    pin_memory=False,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)

# As the demo's, 1e-3 at a batch of 64.
optim_wrapper = dict(optimizer=dict(lr=2.5e-4))
auto_scale_lr = dict(base_batch_size=16)
custom_hooks = [
    dict(type='EMATeacherHook', momentum=0.996, start_share=0.01),
    dict(type='TeacherTempHook', teacher_temp=0.04, warmup_epochs=0),
    dict(type='FreezeLastLayerHook'),
    dict(type='RandomStateHook'),
    dict(type='TrainingMonitorHook'),
]
default_hooks = dict(logger=dict(interval=5), checkpoint=dict(interval=5))
