"""D-MAE, ViT-Small with 12 heads, distilled from MAE's ViT-B, on ImageNet-1K, 400 epochs.

    tools/dist_train.sh configs/mae_lite/dmae_small.py 8 --amp

timm downloads the teacher; one that lies here:

    tools/dist_train.sh configs/mae_lite/dmae_small.py 8 --amp --cfg-options model.target_generator.checkpoint=mae_pretrain_vit_base.pth

Evaluate it as MAE-lite, e.g.

    python tools/knn.py configs/mae_lite/knn_mae_lite_small.py work_dirs/dmae_small/epoch_400.pth
    tools/dist_train.sh configs/mae_lite/finetune_mae_lite_small_improved.py 8 --amp --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/dmae_small/epoch_400.pth

Published: 82.5 % fine-tuned top-1 by the improved recipe (arXiv 2205.14443, later version).
"""

_base_ = ['./mae_lite_small.py']

model = dict(
    type='DistilledMAE',
    distill_weight=1.0,
    target_generator=dict(
        type='MAETeacher',
        checkpoint='timm::vit_base_patch16_224.mae',
        backbone=dict(arch='base', img_size=224, patch_size=16, mask_ratio=0.75),
    ),
)
