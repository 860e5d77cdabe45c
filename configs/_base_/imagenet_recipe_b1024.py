"""imagenet_recipe.py at batch 1024: 8 GPUs x 128 images."""

_base_ = ['./imagenet_recipe.py']

train_dataloader = dict(batch_size=128)
# 5e-4 x 1024 / 256
optim_wrapper = dict(optimizer=dict(lr=2e-3))
auto_scale_lr = dict(base_batch_size=1024)
