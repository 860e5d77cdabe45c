"""Fine-tuning of MAE-lite, ViT-Small, on ImageNet-1K: the improved recipe, 300 epochs.

    tools/dist_train.sh configs/mae_lite/finetune_mae_lite_small_improved.py 8 --amp

It reads work_dirs/mae_lite_small/epoch_400.pth. As ViT-Tiny, with layer decay 0.75.
Published: 82.1 % top-1 (arXiv 2205.14443, later version).
"""

_base_ = ['./finetune_mae_lite_tiny_improved.py']

model = dict(
    backbone=dict(
        arch=dict(embed_dims=384, feedforward_channels=1536),
        init_cfg=dict(checkpoint='work_dirs/mae_lite_small/epoch_400.pth'),
    ),
    head=dict(in_channels=384),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
