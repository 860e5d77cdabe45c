"""EsViT, Swin-T, L_V alone on Open Images v4, 50 epochs, batch 1024.

    tools/dist_train.sh configs/esvit_swin_t_view_openimages.py 8

It sees about as many images as 300 epochs of ImageNet-1K, which its k-NN evaluation
uses. Published: 69.6 % linear, 60.3 % k-NN top-1 (arXiv 2106.09785, Table 4).
"""

_base_ = ['./esvit_swin_t_view_in1k.py']

data_root = 'data/openimages/'
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='OpenImages',
        data_root=data_root,
        split='train',
        # All 9 million images; the boxable ones alone are 1.7 million.
        ann_file='image_ids_and_rotation.csv',
        pipeline=_base_.train_pipeline,
    )
)
train_cfg = dict(max_epochs=50)
default_hooks = dict(milestone=dict(save_begin=30))
