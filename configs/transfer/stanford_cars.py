"""Stanford Cars: accuracy, a tenth of train held out for validation."""

_base_ = ['../_base_/transfer.py']

name = 'Stanford Cars'
num_classes = 196
metric = 'accuracy'
data_root = 'data/Stanford_Cars'

common = dict(
    type='StanfordCars',
    data_root=data_root,
    pipeline={{_base_.pipeline}},
)
whole = dict(**common, split='train')
train = dict(type='HeldOut', part='train', dataset=whole)
val = dict(type='HeldOut', part='val', dataset=whole)
test = dict(**common, split='test')
