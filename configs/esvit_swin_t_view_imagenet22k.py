"""EsViT, Swin-T, L_V alone on ImageNet-22K, 30 epochs, batch 1024.

    tools/dist_train.sh configs/esvit_swin_t_view_imagenet22k.py 8

It sees about as many images as 300 epochs of ImageNet-1K, which its k-NN evaluation
uses. Published: 73.5 % linear, 66.1 % k-NN top-1 (arXiv 2106.09785, Table 4).

The images lie in any folders below data_root. Where so many files are slow, pack them
and use ``ZipImages`` or ``TSVDataset`` with ``LoadImageFromBytes``.
"""

_base_ = ['./esvit_swin_t_view_in1k.py']

data_root = 'data/imagenet22k/'
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='UnlabeledFolder',
        data_root=data_root,
        pipeline=_base_.train_pipeline,
    )
)
train_cfg = dict(max_epochs=30)
