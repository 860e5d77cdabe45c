"""Caltech-101: mean accuracy of the classes, a tenth of train held out for validation."""

_base_ = ['../_base_/transfer.py']

name = 'Caltech-101'
num_classes = 102
metric = 'mean_per_class'
data_root = 'data/caltech-101'

common = dict(
    type='Caltech101',
    data_root=data_root,
    pipeline={{_base_.pipeline}},
)
whole = dict(**common, split='train')
train = dict(type='HeldOut', part='train', dataset=whole)
val = dict(type='HeldOut', part='val', dataset=whole)
test = dict(**common, split='test')
