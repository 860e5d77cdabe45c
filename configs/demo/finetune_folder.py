"""Fine-tuning on your own labelled folder, from a teacher of esvit_swin_folder.py.

    python tools/train.py configs/demo/finetune_folder.py \
        --cfg-options data_root=/path/to/labelled model.backbone.init_cfg.checkpoint=epoch_100.pth

The folder has train/ and val/, and each of them one folder per class. The recipe is
that of configs/finetune. The number of classes is that of the images.
"""

_base_ = ['../finetune/finetune_swin_t.py']

data_root = ''  # given on the command line

model = dict(
    head=dict(num_classes=None),
    data_preprocessor=dict(num_classes=None),
    backbone=dict(
        init_cfg=dict(checkpoint='work_dirs/esvit_swin_folder/epoch_100.pth')
    ),
)


def labelled(part, pipeline):
    return dict(
        _delete_=True,
        type='LabeledFolder',
        data_root=data_root,
        data_prefix=part,
        pipeline=pipeline,
    )


train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    dataset=labelled('train', _base_.train_dataloader.dataset.pipeline),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    dataset=labelled('val', _base_.val_dataloader.dataset.pipeline),
)
test_dataloader = val_dataloader
# Own folders may have fewer than five classes.
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator

# 1.25e-3 x batch / 512
optim_wrapper = dict(optimizer=dict(lr=1.5625e-4))
auto_scale_lr = dict(base_batch_size=64)
