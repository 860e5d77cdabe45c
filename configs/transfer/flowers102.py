"""Flowers-102: mean accuracy of the classes, validation on val."""

_base_ = ['../_base_/transfer.py']

name = 'Flowers-102'
num_classes = 102
metric = 'mean_per_class'
data_root = 'data/Flowers102'

common = dict(
    type='Flowers102',
    data_root=data_root,
    pipeline={{_base_.pipeline}},
)
train = dict(**common, split='train')
val = dict(**common, split='val')
test = dict(**common, split='test')
