"""CIFAR-10: accuracy, a tenth of train held out for validation."""

_base_ = ['../_base_/transfer.py']

name = 'CIFAR-10'
num_classes = 10
metric = 'accuracy'
data_root = 'data/cifar10'

common = dict(
    type='CIFAR10',
    data_root=data_root,
    pipeline={{_base_.array_pipeline}},
    download=False,
)
whole = dict(**common, split='train')
train = dict(type='HeldOut', part='train', dataset=whole)
val = dict(type='HeldOut', part='val', dataset=whole)
test = dict(**common, split='test')
