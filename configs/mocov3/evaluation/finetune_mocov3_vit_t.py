"""Fine-tuning of MoCo v3, ViT-Tiny on ImageNet-1K: MAE-lite's improved recipe, 300 epochs.

    tools/dist_train.sh configs/mocov3/evaluation/finetune_mocov3_vit_t.py 8 --amp

It reads work_dirs/mocov3_vit_t/epoch_400.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
The learning rate falls by 0.75 with every layer towards the input, 0.85 for MAE.
Published: 76.8 % top-1 (arXiv 2205.14443, its later version).
"""

_base_ = ['../../mae_lite/finetune_mae_lite_tiny_improved.py']

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/mocov3_vit_t/epoch_400.pth',
            prefix='backbone.',
        )
    )
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
