"""EsViT, Swin-T, window 14, L_V alone: the first phase of esvit_swin_t_w14.py.

    tools/dist_train.sh configs/esvit_swin_t_w14_view.py 8

Stop it after epoch 200, which is kept as milestone_200.pth; max_epochs stays at 300, as all
schedules go on in the second phase.
"""

_base_ = ['./esvit_swin_t_w14.py']

model = dict(region_neck=None, region_head=None)
