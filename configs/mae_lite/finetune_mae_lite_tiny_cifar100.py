"""Transfer of MAE-lite, ViT-Tiny, to CIFAR-100 by fine-tuning: 50 epochs, batch 512.

    tools/dist_train.sh configs/mae_lite/finetune_mae_lite_tiny_cifar100.py 8 --amp

It reads work_dirs/mae_lite_tiny/epoch_400.pth and data/cifar100; others with
--cfg-options model.backbone.init_cfg.checkpoint=... data_root=...
SGD with Nesterov's momentum 0.9, learning rate 0.1, lower by 0.75 with every layer towards
the input, no weight decay, gradients clipped to 1, 10 epochs of warm-up; random crops and
flips. Other data sets inherit this file.
"""

_base_ = ['./finetune_mae_lite_tiny.py']

data_root = 'data/cifar100'
num_classes = 100

model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    backbone=dict(drop_path_rate=0.0),
    head=dict(
        num_classes=num_classes, loss=dict(_delete_=True, type='CrossEntropyLoss')
    ),
    train_cfg=None,
)

crop = [
    dict(
        type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
resize = [
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
dataset = dict(_delete_=True, type='CIFAR100', data_root=data_root, download=False)
# 8 GPUs x 64 images
train_dataloader = dict(
    batch_size=64,
    dataset=dict(**dataset, split='train', pipeline=[dict(type='ArrayToBGR'), *crop]),
)
val_dataloader = dict(
    dataset=dict(**dataset, split='test', pipeline=[dict(type='ArrayToBGR'), *resize])
)
test_dataloader = val_dataloader

optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='SGD', lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0
    ),
    clip_grad=dict(_delete_=True, max_norm=1.0),
    paramwise_cfg=dict(layer_decay_rate=0.75),
)
auto_scale_lr = dict(base_batch_size=512)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,
        begin=0,
        end=10,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', begin=10, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=50)
