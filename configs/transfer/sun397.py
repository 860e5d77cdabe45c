"""SUN397: accuracy, a tenth of train held out for validation."""

_base_ = ['../_base_/transfer.py']

name = 'SUN397'
num_classes = 397
metric = 'accuracy'
data_root = 'data/SUN397'

common = dict(
    type='SUN397',
    data_root=data_root,
    pipeline={{_base_.pipeline}},
)
whole = dict(**common, split='train')
train = dict(type='HeldOut', part='train', dataset=whole)
val = dict(type='HeldOut', part='val', dataset=whole)
test = dict(**common, split='test')
