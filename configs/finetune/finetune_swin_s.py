"""Fine-tuning of EsViT, Swin-S, L_V + L_R on ImageNet-1K, 100 epochs, batch 1024.

    tools/dist_train.sh configs/finetune/finetune_swin_s.py 8 --amp

It reads work_dirs/esvit_swin_s/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
"""

_base_ = ['./finetune_swin_t.py']

model = dict(
    backbone=dict(
        arch='small',
        init_cfg=dict(checkpoint='work_dirs/esvit_swin_s/epoch_300.pth'),
    ),
)
