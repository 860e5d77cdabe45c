"""Ablation of EsViT, Swin-T, L_V + L_R: 2 global and 2 local views instead of 8.
    tools/dist_train.sh configs/ablations/esvit_swin_t_2x224_2x96.py 8

Everything else is that of esvit_swin_t.py.
"""

_base_ = ['../esvit_swin_t.py']

views = [
    _base_.train_pipeline[1].views[0],
    _base_.train_pipeline[1].views[1],
    dict(_base_.train_pipeline[1].views[2], num_views=2),
]
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            _base_.train_pipeline[0],
            dict(type='MultiCrop', views=views),
            _base_.train_pipeline[2],
        ]
    )
)
