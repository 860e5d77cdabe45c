"""Ablation of EsViT, Swin-T, L_V + L_R: 400 epochs instead of 300.
    tools/dist_train.sh configs/ablations/esvit_swin_t_400e.py 8

All schedules end with the training; their warm-ups stay, of 10 epochs for the learning
rate and of 30 for the teacher temperature.
"""

_base_ = ['../esvit_swin_t.py']

train_cfg = dict(max_epochs=400)
