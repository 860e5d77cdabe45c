"""EsViT, Swin-B, window 14, L_V, then L_V + L_R on ImageNet-1K, batch 512.

The region task joins after 200 of 300 epochs of views alone:

    tools/dist_train.sh configs/esvit_swin_b_w14_view.py 8
    tools/dist_train.sh configs/esvit_swin_b_w14.py 8 --resume work_dirs/esvit_swin_b_w14_view/milestone_200.pth

The first may be stopped after epoch 200; with max_epochs=200 its schedules would end there.
The second command takes over student, teacher, centres and schedules; AdamW begins
without moments, as in the released runs (RegionTaskHook.reset_optimizer).

The folder of the released second phase says "norm_true": presumably the prototypes' norms
stay as they were at its start from there on. That is

    --cfg-options model.neck.norm_last_layer=True model.region_neck.norm_last_layer=True

Published: 81.3 % linear, 79.3 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['./esvit_swin_b.py']

model = dict(backbone=dict(window_size=14))
