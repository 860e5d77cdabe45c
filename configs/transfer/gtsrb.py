"""GTSRB: accuracy, a tenth of train held out for validation."""

_base_ = ['../_base_/transfer.py']

name = 'GTSRB'
num_classes = 43
metric = 'accuracy'
data_root = 'data/GTSRB'

common = dict(
    type='GTSRB',
    data_root=data_root,
    pipeline={{_base_.pipeline}},
)
whole = dict(**common, split='train')
train = dict(type='HeldOut', part='train', dataset=whole)
val = dict(type='HeldOut', part='val', dataset=whole)
test = dict(**common, split='test')
