"""EsViT, Swin-T, on your own folder of images; labels are not needed.

    python tools/train.py configs/demo/esvit_swin_folder.py \
        --cfg-options data_root=/path/to/images

For one GPU. The recipe is the paper's with fewer prototypes and epochs, which suit
fewer images; --auto-scale-lr fits the learning rate to another batch size.
"""

_base_ = ['../esvit_swin_t.py']

data_root = ''  # given on the command line

model = dict(
    neck=dict(out_channels=8192),
    region_neck=dict(out_channels=8192),
)
train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    # A small folder may have fewer images than a batch.
    drop_last=False,
    dataset=dict(
        _delete_=True,
        type='UnlabeledFolder',
        data_root=data_root,
        pipeline=_base_.train_pipeline,
    ),
)
knn_dataloader = None
knn_val_dataloader = None

train_cfg = dict(max_epochs=100)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2), milestone=None)
# lr = 5e-4 x batch / 256
optim_wrapper = dict(optimizer=dict(lr=6.25e-5))
auto_scale_lr = dict(base_batch_size=32)
custom_hooks = [
    # Higher than the paper's for a smaller batch; lower where a run is so short that
    # more than 1 % of the random weights at its start would stay in the teacher.
    dict(type='EMATeacherHook', momentum=0.9995, start_share=0.01),
    dict(type='TeacherTempHook', warmup_epochs=30),
    dict(type='FreezeLastLayerHook'),
    dict(type='RandomStateHook'),
    dict(type='TrainingMonitorHook'),
]
