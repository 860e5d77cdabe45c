"""Fine-tuning of MoCo v3, ViT-B on ImageNet-1K, 150 epochs, batch 1024.

    tools/dist_train.sh configs/mocov3/evaluation/finetune_mocov3_vit_b.py 8 --amp

It reads work_dirs/mocov3_vit_b/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 83.2 % top-1 (arXiv 2104.02057).
"""

_base_ = ['../../_base_/mocov3_finetune.py']

model = dict(
    backbone=dict(
        type='VisionTransformer',
        arch='base',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/mocov3_vit_b/epoch_300.pth',
            prefix='backbone.',
        ),
    ),
    head=dict(in_channels=768),
)
train_cfg = dict(max_epochs=150)
