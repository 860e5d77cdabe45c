"""Fine-tuning of MAE-lite, ViT-Tiny, on ImageNet-1K: the improved recipe, 300 epochs.

    tools/dist_train.sh configs/mae_lite/finetune_mae_lite_tiny_improved.py 8 --amp

Less regularisation than by default, as the network is small, and longer: mixup 0.2 alone,
no stochastic depth, erasing or label smoothing; RandAugment of magnitude 10 and colour
jitter. 1000 epochs, which give 78.5 %, with --cfg-options train_cfg.max_epochs=1000.
Published: 78.1 % top-1 (arXiv 2205.14443; its later version has 78.0 %).
"""

_base_ = ['./finetune_mae_lite_tiny.py']

model = dict(
    backbone=dict(drop_path_rate=0.0),
    head=dict(loss=dict(label_smooth_val=0.0)),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.2)]),
)
train_pipeline = [
    *_base_.train_pipeline[:3],
    dict(_base_.train_pipeline[3], magnitude_level=10),
    dict(type='ColorJitter', brightness=0.3, contrast=0.3, saturation=0.3),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_epochs=300)
