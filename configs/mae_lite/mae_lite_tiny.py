"""MAE-lite, ViT-Tiny with 12 heads and patch 16, on ImageNet-1K, 400 epochs, batch 4096.

    tools/dist_train.sh configs/mae_lite/mae_lite_tiny.py 8 --amp

k-NN, linear evaluation and fine-tuning:

    python tools/knn.py configs/mae_lite/knn_mae_lite_tiny.py
    tools/dist_train.sh configs/mae_lite/linear_mae_lite_tiny.py 8
    tools/dist_train.sh configs/mae_lite/finetune_mae_lite_tiny_improved.py 8 --amp
"""

_base_ = ['../_base_/mae_lite_imagenet.py']

model = dict(
    backbone=dict(
        arch=dict(embed_dims=192, num_layers=12, num_heads=12, feedforward_channels=768)
    ),
    neck=dict(embed_dim=192, decoder_embed_dim=96, decoder_num_heads=3),
)
