"""EsViT, ViL-T, L_V alone on ImageNet-1K, 300 epochs, batch 512.

    tools/dist_train.sh configs/esvit_vil_t_view.py 8

Published: 77.3 % linear, 73.9 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['./esvit_vil_t.py']

model = dict(region_neck=None, region_head=None)

# The second phase begins with one of these.
default_hooks = dict(
    milestone=dict(
        type='AtomicCheckpointHook',
        interval=20,
        filename_tmpl='milestone_{}.pth',
        save_last=False,
    )
)

# 8 GPUs x 64 images
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=512)
