"""UCF101 frames: accuracy, a tenth of train held out for validation."""

_base_ = ['../_base_/transfer.py']

name = 'UCF101 frames'
num_classes = 101
metric = 'accuracy'
data_root = 'data/UCF101'

common = dict(
    type='UCF101Frames',
    data_root=data_root,
    pipeline={{_base_.pipeline}},
)
whole = dict(**common, split='train')
train = dict(type='HeldOut', part='train', dataset=whole)
val = dict(type='HeldOut', part='val', dataset=whole)
test = dict(**common, split='test')
