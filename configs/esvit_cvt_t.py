"""EsViT, CvT-T, L_V, then L_V + L_R on ImageNet-1K, batch 1024.

The region task joins after 200 of 300 epochs of views alone:

    tools/dist_train.sh configs/esvit_cvt_t_view.py 8
    tools/dist_train.sh configs/esvit_cvt_t.py 8 --resume work_dirs/esvit_cvt_t_view/milestone_200.pth

The first may be stopped after epoch 200; with max_epochs=200 its schedules would end there.
The second command takes over student, teacher, centres and schedules; AdamW begins
without moments, as in the released runs (RegionTaskHook.reset_optimizer).

Published: 78.5 % linear, 76.7 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['_base_/models/cvt_t.py', '_base_/imagenet_recipe_b1024.py']
