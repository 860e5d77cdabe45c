"""MNIST: accuracy, a tenth of train held out for validation."""

_base_ = ['../_base_/transfer.py']

name = 'MNIST'
num_classes = 10
metric = 'accuracy'
data_root = 'data/mnist'

common = dict(
    type='MNIST',
    data_root=data_root,
    pipeline={{_base_.array_pipeline}},
    download=False,
)
whole = dict(**common, split='train')
train = dict(type='HeldOut', part='train', dataset=whole)
val = dict(type='HeldOut', part='val', dataset=whole)
test = dict(**common, split='test', test_mode=True)
