"""MoCo v3, ViL-T, on ImageNet-1K, 300 epochs, batch 1024.

    tools/dist_train.sh configs/mocov3/mocov3_vil_t.py 8 --amp

For its evaluation see mocov3_swin_t.py, and take the configs of this backbone. The
recipe is the one that MoCo v3 publishes for ViTs; it reports no ViL.
"""

_base_ = ['../_base_/mocov3_imagenet.py']

model = dict(
    # As the ViTs, without stochastic depth: the momentum encoder would have it too.
    backbone=dict(type='ViL', arch='tiny', img_size=224, drop_path_rate=0.0)
)
