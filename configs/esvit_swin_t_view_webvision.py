"""EsViT, Swin-T, L_V alone on WebVision-v1, 150 epochs, batch 1024.

    tools/dist_train.sh configs/esvit_swin_t_view_webvision.py 8

It sees as many images as 300 epochs of ImageNet-1K, which its k-NN evaluation uses.
Published: 75.4 % linear, 69.4 % k-NN top-1 (arXiv 2106.09785, Table 4).
"""

_base_ = ['./esvit_swin_t_view_in1k.py']

data_root = 'data/webvision/'
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='WebVision',
        data_root=data_root,
        split='train',
        with_label=False,
        pipeline=_base_.train_pipeline,
    )
)
train_cfg = dict(max_epochs=150)
