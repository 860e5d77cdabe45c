"""Training on your own labelled folder, watched by k-NN; nothing learns from labels.

    python tools/train.py configs/demo/esvit_swin_folder_knn.py \
        --cfg-options data_root=/path/to/labelled

The folder has train/ and val/, and each of them one folder per class. The images of
train/ are trained on; every 10 epochs they vote on the classes of those in val/.
"""

_base_ = ['./esvit_swin_folder.py']

data_root = ''  # given on the command line


def labelled(part):
    return dict(
        batch_size=64,
        num_workers=2,
        dataset=dict(
            type='LabeledFolder',
            data_root=data_root,
            data_prefix=part,
            pipeline=_base_.eval_pipeline,
        ),
    )


train_dataloader = dict(dataset=dict(data_prefix='train'))
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='KNNMonitorHook',
        train_dataloader=labelled('train'),
        val_dataloader=labelled('val'),
        interval=10,
    ),
]
