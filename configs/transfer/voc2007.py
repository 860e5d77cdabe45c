"""VOC2007: 11-point mean average precision, several classes per image, validation on val."""

_base_ = ['../_base_/transfer.py']

name = 'VOC2007'
num_classes = 20
metric = 'map11'
data_root = 'data/VOC2007'

common = dict(
    type='VOC',
    data_root=data_root,
    pipeline={{_base_.pipeline}},
)
train = dict(**common, split='train')
val = dict(**common, split='val')
test = dict(**common, split='test')
