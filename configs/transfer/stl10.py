"""STL-10: accuracy, a tenth of train held out for validation."""

_base_ = ['../_base_/transfer.py']

name = 'STL-10'
num_classes = 10
metric = 'accuracy'
data_root = 'data/stl10_binary'

common = dict(
    type='STL10',
    data_root=data_root,
    pipeline={{_base_.array_pipeline}},
)
whole = dict(**common, split='train')
train = dict(type='HeldOut', part='train', dataset=whole)
val = dict(type='HeldOut', part='val', dataset=whole)
test = dict(**common, split='test')
