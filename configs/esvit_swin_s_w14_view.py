"""EsViT, Swin-S, window 14, L_V alone: the first phase of esvit_swin_s_w14.py.

tools/dist_train.sh configs/esvit_swin_s_w14_view.py 8
"""

_base_ = ['./esvit_swin_s_w14.py']

model = dict(region_neck=None, region_head=None)

# The second phase begins with one of these.
default_hooks = dict(
    milestone=dict(
        type='AtomicCheckpointHook',
        interval=20,
        filename_tmpl='milestone_{}.pth',
        save_last=False,
    )
)
