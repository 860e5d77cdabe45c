"""MoCo v3, ResNet-50, on ImageNet-1K, 300 epochs, batch 4096.

    tools/dist_train.sh configs/mocov3/mocov3_resnet50.py 8 --amp

Its optimiser is timm's Lars: mmpretrain's LARS puts the learning rate into the momentum
and waits for the GPU twice per parameter.
Published: 72.8 % linear top-1 (the authors' program, CONFIG.md).
"""

_base_ = ['../_base_/mocov3_imagenet.py']

temperature = 1.0
model = dict(
    # The last batch norm of a block begins at 0.
    backbone=dict(type='ResNet', depth=50, zero_init_residual=True),
    neck=dict(in_channels=2048, num_layers=2),
    head=dict(
        predictor=dict(with_last_bn=False),
        loss=dict(loss_weight=2 * temperature),
        temperature=temperature,
    ),
)

train_pipeline = [
    _base_.train_pipeline[0],
    dict(
        _base_.train_pipeline[1],
        # Crops from 0.2 of the image, not from 0.08
        views=[dict(view, scale=(0.2, 1.0)) for view in _base_.train_pipeline[1].views],
    ),
    _base_.train_pipeline[2],
]
# 8 GPUs x 512 images: 0.3 x 4096 / 256
train_dataloader = dict(batch_size=512, dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(
    # Norms and biases have neither decay nor LARS.
    constructor='MatrixDecayOptimWrapperConstructor',
    optimizer=dict(
        _delete_=True, type='timm.optim.Lars', lr=4.8, weight_decay=1e-6, momentum=0.9
    ),
)
auto_scale_lr = dict(base_batch_size=4096)
param_scheduler = [
    dict(_base_.param_scheduler[0], end=10),
    dict(_base_.param_scheduler[1], begin=10),
]
