"""Fine-tuning of a teacher of esvit_swin_folder_laptop.py, on your own labelled folder.

    python tools/train.py configs/demo/finetune_folder_laptop.py \
        --cfg-options data_root=/path/to/labelled

As finetune_folder.py, but for the smaller network and images of 96 px.
"""

_base_ = ['./finetune_folder.py']

data_root = ''  # given on the command line

model = dict(
    backbone=dict(
        _delete_=True,
        type='EsViTSwin',
        arch=dict(embed_dims=48, depths=[2, 2, 2, 2], num_heads=[2, 4, 8, 16]),
        img_size=96,
        window_size=6,
        drop_path_rate=0.0,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/esvit_swin_folder_laptop/epoch_100.pth',
            prefix='teacher.backbone.',
        ),
    ),
    head=dict(in_channels=384),
)


def smaller(pipeline):
    sizes = dict(
        RandomResizedCrop=dict(scale=96),
        ResizeEdge=dict(scale=110),
        CenterCrop=dict(crop_size=96),
    )
    return [dict(step, **sizes.get(step['type'], {})) for step in pipeline]


train_dataloader = dict(
    num_workers=2,
    dataset=dict(pipeline=smaller(_base_.train_dataloader.dataset.pipeline)),
)
val_dataloader = dict(
    num_workers=2,
    dataset=dict(pipeline=smaller(_base_.val_dataloader.dataset.pipeline)),
)
test_dataloader = val_dataloader
