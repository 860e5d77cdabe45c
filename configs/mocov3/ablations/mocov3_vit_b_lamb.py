"""MoCo v3, ViT-B, LAMB instead of AdamW, 100 epochs.

    NNODES=2 tools/dist_train.sh configs/mocov3/ablations/mocov3_vit_b_lamb.py 8 --amp

The paper describes it as no more stable than AdamW (arXiv 2104.02057, Section 4.1).
"""

_base_ = ['../mocov3_vit_b.py']

optim_wrapper = dict(
    # 5e-4 x 4096 / 256; without timm's clipping
    optimizer=dict(
        _delete_=True,
        type='timm.optim.Lamb',
        lr=8e-3,
        weight_decay=1e-3,
        max_grad_norm=None,
    )
)
train_cfg = dict(max_epochs=100)
