"""UPerNet of mmseg on EsViT's Swin-T, ADE20K, 512 px, 160,000 iterations of 16 images.

    tools/dist_train.sh configs/segmentation/upernet_swin_t_ade20k.py 8

It needs mmseg, see tests/segmentation/README.md, and differs from mmseg's own config
in the weights of the backbone alone (and the eps of its norms, which is that of EsViT).
The data are in data/ade/ADEChallengeData2016 (--cfg-options data_root=...). It reads
work_dirs/esvit_swin_t/epoch_300.pth; another checkpoint with --cfg-options
model.backbone.init_cfg.checkpoint=...
Published for the supervised twin: 44.41 mIoU (mmseg's metafile).
"""

_base_ = [
    'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py'
]

custom_imports = dict(imports=['esvit_plugin'])

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.EsViTSwin',
        arch='tiny',
        # Larger than 7 positions in every stage: all shift, as in mmseg's Swin.
        img_size=512,
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.3,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/esvit_swin_t/epoch_300.pth',
            prefix='teacher.backbone.',
        ),
    )
)
