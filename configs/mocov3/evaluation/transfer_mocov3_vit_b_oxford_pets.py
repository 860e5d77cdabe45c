"""Fine-tuning of MoCo v3, ViT-B on Oxford Pets, 100 epochs, batch 1024.

    tools/dist_train.sh configs/mocov3/evaluation/transfer_mocov3_vit_b_oxford_pets.py 8 --amp

It reads work_dirs/mocov3_vit_b/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 93.2 % top-1 (arXiv 2104.02057).
"""

_base_ = ['../../_base_/mocov3_transfer.py']

data_root = 'data/Oxford-IIIT_Pets'
common = dict(type='OxfordIIITPet', data_root=data_root)
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
    data_preprocessor=dict(num_classes=37),
    head=dict(num_classes=37),
)
