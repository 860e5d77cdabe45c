"""MAE-lite (arXiv 2205.14443) on ImageNet-1K: all of a config but the widths.

A ViT of 12 heads with MAE's fixed positions and a decoder of one block. AdamW(0.9, 0.95),
learning rate 1.5e-4 x batch / 256, weight decay 0.05 on matrices, 40 of 400 epochs of
warm-up, cosine to 0; crops from 0.08 of the image; three quarters of the patches are
left out, and their normalised pixels predicted.
"""

_base_ = ['./mae_imagenet.py']

model = dict(
    backbone=dict(
        _delete_=True, type='MAELiteViT', img_size=224, patch_size=16, mask_ratio=0.75
    ),
    neck=dict(type='MAELiteDecoder', decoder_depth=1),
)
train_pipeline = [
    _base_.train_pipeline[0],
    dict(_base_.train_pipeline[1], crop_ratio_range=(0.08, 1.0)),
    *_base_.train_pipeline[2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
# Tokens are decayed, biases and norms are not.
optim_wrapper = dict(paramwise_cfg=dict(_delete_=True, flat_decay_mult=0.0))
train_cfg = dict(max_epochs=400)
