"""Fine-tuning of MoCo v3, ViT-B on CIFAR-10, 100 epochs, batch 1024.

    tools/dist_train.sh configs/mocov3/evaluation/transfer_mocov3_vit_b_cifar10.py 8 --amp

It reads work_dirs/mocov3_vit_b/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 98.9 % top-1 (arXiv 2104.02057).
"""

_base_ = ['../../_base_/mocov3_transfer.py']

data_root = 'data/cifar10'
# The set comes as arrays.
load = dict(type='ArrayToBGR')
train_pipeline = [load, *_base_.train_pipeline[1:]]
test_pipeline = [load, *_base_.test_pipeline[1:]]
common = dict(type='CIFAR10', data_root=data_root, download=False)
train_dataloader = dict(
    dataset=dict(_delete_=True, **common, split='train', pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(_delete_=True, **common, split='test', pipeline=test_pipeline)
)
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=dict(num_classes=10),
    head=dict(num_classes=10),
)
