"""MAE, DeiT-S with patch 16, on ImageNet-1K, 300 epochs, batch 4096.

    tools/dist_train.sh configs/mae/mae_deit_s.py 8 --amp

Evaluate it as EsViT, with other weights:

    python tools/knn.py configs/mae/mae_deit_s.py work_dirs/mae_deit_s/epoch_300.pth
    tools/dist_train.sh configs/linear/linear_deit_s.py 8 --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/mae_deit_s/epoch_300.pth model.backbone.init_cfg.prefix=backbone.
    tools/dist_train.sh configs/finetune/finetune_deit_s.py 8 --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/mae_deit_s/epoch_300.pth model.backbone.init_cfg.prefix=backbone.

MAE publishes no ViT of this size.
"""

_base_ = ['../_base_/mae_imagenet.py']

model = dict(backbone=dict(arch='deit-small'), neck=dict(embed_dim=384))
