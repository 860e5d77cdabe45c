"""40 epochs of warm-up, then a cosine to 0 at epoch 300: MoCo-v3's and MAE's."""

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,
        begin=0,
        end=40,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', begin=40, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=300)
