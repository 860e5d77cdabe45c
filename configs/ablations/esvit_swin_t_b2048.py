"""Ablation of EsViT, Swin-T, L_V + L_R: batch 2048 instead of 512.
    tools/dist_train.sh configs/ablations/esvit_swin_t_b2048.py 8

Everything else is that of esvit_swin_t.py.
"""

_base_ = ['../esvit_swin_t.py']

# 8 GPUs x 256 images; lr = 5e-4 x batch / 256
train_dataloader = dict(batch_size=256)
optim_wrapper = dict(optimizer=dict(lr=0.004))
auto_scale_lr = dict(base_batch_size=2048)
