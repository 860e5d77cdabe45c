"""EsViT, DeiT-S with patch 16, L_V + L_R on ImageNet-1K, 300 epochs, batch 1024.

    tools/dist_train.sh configs/esvit_deit_s.py 8

A monolithic transformer, for comparison: the class token is the view.
"""

_base_ = ['_base_/models/esvit_deit_s.py', '_base_/imagenet_recipe.py']

# 8 GPUs x 128 images
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
auto_scale_lr = dict(base_batch_size=1024)
