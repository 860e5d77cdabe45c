"""Fine-tuning of MoCo v3's ViT-B on small data sets, all but the images.

100 epochs, batch 1024, AdamW, learning rate 3e-4, 3 epochs of warm-up, stochastic depth
0.1; the rest is DeiT's recipe, of which the paper says no more.
"""

_base_ = ['../mocov3/evaluation/finetune_mocov3_vit_b.py']

train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True)
)
val_evaluator = dict(_delete_=True, type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [
    dict(_base_.param_scheduler[0], end=3),
    dict(_base_.param_scheduler[1], begin=3),
]
train_cfg = dict(max_epochs=100)
