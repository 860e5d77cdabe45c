"""MoCo v3, ViT-B, batch 1024, 100 epochs, the patch projection trained.

    NNODES=2 tools/dist_train.sh configs/mocov3/ablations/mocov3_vit_b_b1024.py 8 --amp

Published: 71.5 % linear top-1 (arXiv 2104.02057); 71.5, 72.6, 72.2 and 69.7 with batches of
1024, 2048, 4096 and 6144.
"""

_base_ = ['../mocov3_vit_b.py']

# The projection is trained, whose gradient spikes.
model = dict(backbone=dict(stop_grad_conv1=False))
# 16 GPUs x 64 images: 1e-4 x 1024 / 256
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.0004))
auto_scale_lr = dict(base_batch_size=1024)
train_cfg = dict(max_epochs=100)
