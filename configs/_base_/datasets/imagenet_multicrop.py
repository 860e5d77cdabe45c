"""ImageNet-1K with the paper's views, and its k-NN evaluation."""

data_root = 'data/imagenet/'

train_pipeline = [
    # A damaged file is named in the log and left out; 'raise' stops instead.
    dict(type='LoadImage', on_error='skip'),
    dict(
        type='MultiCrop',
        views=[
            dict(
                size=224,
                scale=(0.4, 1.0),
                num_views=1,
                augment=dict(blur_prob=1.0),
            ),
            dict(
                size=224,
                scale=(0.4, 1.0),
                num_views=1,
                augment=dict(blur_prob=0.1, solarize_prob=0.2),
            ),
            dict(
                size=96,
                scale=(0.05, 0.4),
                num_views=8,
                augment=dict(blur_prob=0.5),
            ),
        ],
    ),
    dict(type='PackInputs'),
]
# k-NN leaves out a damaged image, with its label.
eval_pipeline = [
    dict(type='LoadImage', on_error='skip'),
    dict(
        type='ResizeEdge',
        scale=256,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ImageNet', data_root=data_root, split='train', pipeline=train_pipeline
    ),
)
knn_dataloader = dict(
    batch_size=128,
    num_workers=10,
    dataset=dict(
        type='ImageNet', data_root=data_root, split='train', pipeline=eval_pipeline
    ),
)
knn_val_dataloader = dict(
    batch_size=128,
    num_workers=10,
    dataset=dict(
        type='ImageNet', data_root=data_root, split='val', pipeline=eval_pipeline
    ),
)
