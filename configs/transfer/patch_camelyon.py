"""PatchCamelyon: accuracy, validation on valid."""

_base_ = ['../_base_/transfer.py']

name = 'PatchCamelyon'
num_classes = 2
metric = 'accuracy'
data_root = 'data/pcam'

common = dict(
    type='PatchCamelyon',
    data_root=data_root,
    pipeline={{_base_.array_pipeline}},
)
train = dict(**common, split='train')
val = dict(**common, split='valid')
test = dict(**common, split='test')
