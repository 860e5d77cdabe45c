"""D-MAE on the photographs: mae_photos.py, distilled from what that has trained.

    python tools/train.py configs/demo/mae_photos.py
    python tools/train.py configs/demo/dmae_photos.py

It reads work_dirs/mae_photos/epoch_20.pth; a larger teacher with
--cfg-options model.target_generator.checkpoint=... and its
model.target_generator.backbone.arch.
"""

_base_ = ['./mae_photos.py']

model = dict(
    type='DistilledMAE',
    target_generator=dict(
        type='MAETeacher',
        checkpoint='work_dirs/mae_photos/epoch_20.pth',
        backbone=dict(
            arch=dict(
                embed_dims=192, num_layers=4, num_heads=12, feedforward_channels=384
            ),
            img_size=64,
            patch_size=8,
        ),
    ),
)
