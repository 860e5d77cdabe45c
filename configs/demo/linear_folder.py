"""A linear probe on your own labelled folder, of a teacher of esvit_swin_folder.py.

    python tools/train.py configs/demo/linear_folder.py \
        --cfg-options data_root=/path/to/labelled model.backbone.init_cfg.checkpoint=epoch_100.pth

The folder has train/ and val/, and each of them one folder per class. The protocol is
the paper's: last-4-block features of the frozen teacher, several learning rates in one
pass; the log ends with the best. The number of classes is that of the images.
"""

_base_ = ['../linear/linear_swin_t.py']

data_root = ''  # given on the command line

model = dict(
    num_classes=None,
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

# 0.001 x batch / 256
optim_wrapper = dict(optimizer=dict(lr=2.5e-4))
auto_scale_lr = dict(base_batch_size=64)
