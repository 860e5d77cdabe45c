"""MoCo v3, ViT-B, batch 4096, 100 epochs, the patch projection trained.

    NNODES=2 tools/dist_train.sh configs/mocov3/ablations/mocov3_vit_b_b4096.py 8 --amp

Published: 72.2 % linear top-1 (arXiv 2104.02057); 71.5, 72.6, 72.2 and 69.7 with batches of
1024, 2048, 4096 and 6144.
"""

_base_ = ['./mocov3_vit_b_b1024.py']

# 16 GPUs x 256 images: 1e-4 x 4096 / 256
train_dataloader = dict(batch_size=256)
optim_wrapper = dict(optimizer=dict(lr=0.0016))
auto_scale_lr = dict(base_batch_size=4096)
