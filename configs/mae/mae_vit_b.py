"""MAE, ViT-B with patch 16, on ImageNet-1K, 300 epochs, batch 4096.

    tools/dist_train.sh configs/mae/mae_vit_b.py 8 --amp

k-NN evaluation:

    python tools/knn.py configs/mae/mae_vit_b.py work_dirs/mae_vit_b/epoch_300.pth

Published: 60.8 % linear, 83.1 % fine-tuned top-1 (mmpretrain's configs/mae). The
authors train for 800 and 1600 epochs.
"""

_base_ = ['../_base_/mae_imagenet.py']
