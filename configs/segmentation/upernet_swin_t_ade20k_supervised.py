"""The supervised twin of upernet_swin_t_ade20k.py: a Swin-T trained on ImageNet's labels.

    tools/dist_train.sh configs/segmentation/upernet_swin_t_ade20k_supervised.py 8

It is mmseg's swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py
in the code of its twin: the same weights, of the Swin authors, as mmpretrain publishes
them, and the eps they had.
Published: 44.41 mIoU (mmseg's metafile).
"""

_base_ = ['upernet_swin_t_ade20k.py']

model = dict(
    backbone=dict(
        norm_cfg=dict(type='LN', eps=1e-5),
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmclassification/v0/swin-transformer/convert/swin_tiny_patch4_window7_224-160bb0a5.pth',
            prefix='backbone.',
        ),
    )
)
