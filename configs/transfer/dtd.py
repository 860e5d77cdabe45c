"""DTD: accuracy, validation on val."""

_base_ = ['../_base_/transfer.py']

name = 'DTD'
num_classes = 47
metric = 'accuracy'
data_root = 'data/dtd'

common = dict(
    type='DTD',
    data_root=data_root,
    pipeline={{_base_.pipeline}},
)
train = dict(**common, split='train')
val = dict(**common, split='val')
test = dict(**common, split='test')
