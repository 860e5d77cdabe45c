"""Transfer of MAE-lite, ViT-Tiny, to CIFAR-10 by fine-tuning, as to CIFAR-100.

    tools/dist_train.sh configs/mae_lite/finetune_mae_lite_tiny_cifar10.py 8 --amp

It reads work_dirs/mae_lite_tiny/epoch_400.pth and data/cifar10; see the docstring of
finetune_mae_lite_tiny_cifar100.py, whose rate and epochs it has.
"""

_base_ = ['./finetune_mae_lite_tiny_cifar100.py']

data_root = 'data/cifar10'
num_classes = 10

model = dict(
    data_preprocessor=dict(num_classes=num_classes), head=dict(num_classes=num_classes)
)
load = dict(type='ArrayToBGR')
dataset = dict(_delete_=True, type='CIFAR10', data_root=data_root, download=False)
train_dataloader = dict(
    dataset=dict(**dataset, split='train', pipeline=[load, *_base_.crop])
)
val_dataloader = dict(
    dataset=dict(**dataset, split='test', pipeline=[load, *_base_.resize])
)
test_dataloader = val_dataloader
