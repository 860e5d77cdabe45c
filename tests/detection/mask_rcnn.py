"""Mask R-CNN with FPN on EsViT's Swin-T.

For another backbone change ``model.backbone`` and ``model.neck.in_channels``.
"""

_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/default_runtime.py',
]
custom_imports = dict(imports=['esvit_plugin'])

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.EsViTSwin',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
    roi_head=dict(bbox_head=dict(num_classes=2), mask_head=dict(num_classes=2)),
)

# Two iterations; the check fills in the data and the size of the pictures.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# No weight decay, so that a weight moves by its gradient alone.
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.0))
log_processor = dict(by_epoch=False)
default_hooks = dict(logger=dict(interval=1), checkpoint=None)
randomness = dict(seed=0)
