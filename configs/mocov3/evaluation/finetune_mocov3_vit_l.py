"""Fine-tuning of MoCo v3, ViT-L on ImageNet-1K, 100 epochs, batch 1024.

    tools/dist_train.sh configs/mocov3/evaluation/finetune_mocov3_vit_l.py 8 --amp

It reads work_dirs/mocov3_vit_l/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 84.1 % top-1 (arXiv 2104.02057).
"""

_base_ = ['../../_base_/mocov3_finetune.py']

model = dict(
    backbone=dict(
        type='VisionTransformer',
        arch='large',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.5,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/mocov3_vit_l/epoch_300.pth',
            prefix='backbone.',
        ),
    ),
    head=dict(in_channels=1024),
)
train_cfg = dict(max_epochs=100)
