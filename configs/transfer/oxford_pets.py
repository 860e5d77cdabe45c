"""Oxford Pets: mean accuracy of the classes, a tenth of trainval held out for validation."""

_base_ = ['../_base_/transfer.py']

name = 'Oxford Pets'
num_classes = 37
metric = 'mean_per_class'
data_root = 'data/Oxford-IIIT_Pets'

common = dict(
    type='OxfordIIITPet',
    data_root=data_root,
    pipeline={{_base_.pipeline}},
)
whole = dict(**common, split='trainval')
train = dict(type='HeldOut', part='train', dataset=whole)
val = dict(type='HeldOut', part='val', dataset=whole)
test = dict(**common, split='test')
