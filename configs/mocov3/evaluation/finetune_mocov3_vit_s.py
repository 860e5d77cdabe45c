"""Fine-tuning of MoCo v3, ViT-S on ImageNet-1K, 300 epochs, batch 1024.

    tools/dist_train.sh configs/mocov3/evaluation/finetune_mocov3_vit_s.py 8 --amp

It reads work_dirs/mocov3_vit_s/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 81.4 % top-1 (arXiv 2104.02057).
"""

_base_ = ['../../_base_/mocov3_finetune.py']

model = dict(
    backbone=dict(
        type='VisionTransformer',
        # 12 heads; deit-small has 6.
        arch=dict(
            embed_dims=384,
            num_layers=12,
            num_heads=12,
            feedforward_channels=1536,
        ),
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/mocov3_vit_s/epoch_300.pth',
            prefix='backbone.',
        ),
    ),
    head=dict(in_channels=384),
)
train_cfg = dict(max_epochs=300)
