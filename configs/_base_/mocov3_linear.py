"""MoCo v3's linear evaluation on ImageNet-1K (arXiv 2104.02057), all but the backbone.

The class token after the last norm, SGD without decay, 90 epochs, batch 1024; the images
of the other linear evaluations. The learning rate is 3 x batch / 256.
"""

_base_ = ['./linear_imagenet.py']

model = dict(num_blocks=1, lr_factors=(1.0,))
# 8 GPUs x 128 images: 3 x 1024 / 256
optim_wrapper = dict(optimizer=dict(lr=12.0))
train_cfg = dict(max_epochs=90)
