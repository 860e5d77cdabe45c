"""Fine-tuning of MAE-lite, ViT-Tiny, with DeiT's hard distillation: the improved recipe, 300 epochs.

    tools/dist_train.sh configs/mae_lite/finetune_mae_lite_tiny_improved_distilled.py 8 --amp

A RegNetY-160 names classes, which the class token learns by a norm and head of its own;
predictions are averaged. timm downloads its weights; a file of them with
--cfg-options model.teacher.checkpoint=...
Published: 78.4 % top-1 (arXiv 2205.14443).
"""

_base_ = ['./finetune_mae_lite_tiny_improved.py']

model = dict(
    type='HardDistilledClassifier',
    # The head normalises.
    backbone=dict(out_type='raw'),
    head=dict(type='DistilledLinearClsHead', distill_weight=0.5),
    teacher=dict(
        type='TIMMTeacher',
        model_name='regnety_160',
        checkpoint='timm::regnety_160.deit_in1k',
    ),
)
