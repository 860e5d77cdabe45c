"""Fine-tuning of MoCo v3, ViT-B on Flowers-102, 100 epochs, batch 1024.

    tools/dist_train.sh configs/mocov3/evaluation/transfer_mocov3_vit_b_flowers102.py 8 --amp

It reads work_dirs/mocov3_vit_b/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 97.7 % top-1 (arXiv 2104.02057).
"""

_base_ = ['../../_base_/mocov3_transfer.py']

data_root = 'data/Flowers102'
common = dict(type='Flowers102', data_root=data_root)
train_dataloader = dict(
    dataset=dict(
        _delete_=True, **common, split='trainval', pipeline=_base_.train_pipeline
    )
)
val_dataloader = dict(
    dataset=dict(_delete_=True, **common, split='test', pipeline=_base_.test_pipeline)
)
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=dict(num_classes=102),
    head=dict(num_classes=102),
)
