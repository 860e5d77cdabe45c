"""Fine-tuning of EsViT, Swin-T, L_V + L_R on ImageNet-1K, 100 epochs, batch 1024.

    tools/dist_train.sh configs/finetune/finetune_swin_t.py 8 --amp

It reads work_dirs/esvit_swin_t/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
"""

_base_ = ['../_base_/finetune_imagenet.py']

model = dict(
    backbone=dict(
        type='EsViTSwin',
        arch='tiny',
        window_size=7,
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/esvit_swin_t/epoch_300.pth',
            prefix='teacher.backbone.',
        ),
    )
)
