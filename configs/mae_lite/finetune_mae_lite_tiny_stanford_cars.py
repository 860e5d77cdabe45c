"""Transfer of MAE-lite, ViT-Tiny, to Stanford's cars by fine-tuning, as to CIFAR-100.

    tools/dist_train.sh configs/mae_lite/finetune_mae_lite_tiny_stanford_cars.py 8 --amp

It reads work_dirs/mae_lite_tiny/epoch_400.pth and data/Stanford_Cars; see the docstring of
finetune_mae_lite_tiny_cifar100.py, whose rate and epochs it has.
"""

_base_ = ['./finetune_mae_lite_tiny_cifar100.py']

data_root = 'data/Stanford_Cars'
num_classes = 196

model = dict(
    data_preprocessor=dict(num_classes=num_classes), head=dict(num_classes=num_classes)
)
# Pillow, as some files of these sets are not of the type that they are named after.
load = dict(type='LoadImage', imdecode_backend='pillow')
dataset = dict(_delete_=True, type='StanfordCars', data_root=data_root)
train_dataloader = dict(
    dataset=dict(**dataset, split='train', pipeline=[load, *_base_.crop])
)
val_dataloader = dict(
    dataset=dict(**dataset, split='test', pipeline=[load, *_base_.resize])
)
test_dataloader = val_dataloader
