"""Ablation of EsViT, Swin-T, L_V + L_R: batch 128 instead of 512.
    tools/dist_train.sh configs/ablations/esvit_swin_t_b128.py 8

Everything else is that of esvit_swin_t.py.
"""

_base_ = ['../esvit_swin_t.py']

# 8 GPUs x 16 images; lr = 5e-4 x batch / 256
train_dataloader = dict(batch_size=16)
optim_wrapper = dict(optimizer=dict(lr=0.00025))
auto_scale_lr = dict(base_batch_size=128)
