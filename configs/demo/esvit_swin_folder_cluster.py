"""EsViT, Swin-T, on your own folder of images, on a node of 8 GPUs.

    tools/dist_train.sh configs/demo/esvit_swin_folder_cluster.py 8 \
        --cfg-options data_root=/path/to/images

The paper's recipe whole, 65536 prototypes and a batch of 512; it suits some hundred
thousand images and more. --auto-scale-lr fits the learning rate to another batch.
"""

_base_ = ['../esvit_swin_t.py']

data_root = ''  # given on the command line

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='UnlabeledFolder',
        data_root=data_root,
        pipeline=_base_.train_pipeline,
    )
)
knn_dataloader = None
knn_val_dataloader = None
custom_hooks = [
    dict(type='EMATeacherHook', momentum=0.996, start_share=0.01),
    *[hook for hook in _base_.custom_hooks if hook.type != 'EMATeacherHook'][:-1],
]
