"""EsViT, Swin-T, L_V alone on ImageNet-1K, 300 epochs, batch 1024.

    tools/dist_train.sh configs/esvit_swin_t_view_in1k.py 8

The reference of the runs on other data sets, which see as many images.
Published: 77.1 % linear, 73.7 % k-NN top-1 (arXiv 2106.09785, Table 4).
"""

_base_ = ['./esvit_swin_t_view.py']

# 8 GPUs x 128 images
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
auto_scale_lr = dict(base_batch_size=1024)
