"""FER2013: accuracy, validation on val."""

_base_ = ['../_base_/transfer.py']

name = 'FER2013'
num_classes = 7
metric = 'accuracy'
data_root = 'data/fer2013'

common = dict(
    type='FER2013',
    data_root=data_root,
    pipeline={{_base_.array_pipeline}},
)
train = dict(**common, split='train')
val = dict(**common, split='val')
test = dict(**common, split='test')
