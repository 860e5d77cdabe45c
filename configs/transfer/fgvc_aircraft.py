"""FGVC Aircraft: mean accuracy of the classes, validation on val."""

_base_ = ['../_base_/transfer.py']

name = 'FGVC Aircraft'
num_classes = 100
metric = 'mean_per_class'
data_root = 'data/fgvc-aircraft-2013b'

common = dict(
    type='FGVCAircraft',
    data_root=data_root,
    pipeline={{_base_.pipeline}},
)
train = dict(**common, split='train')
val = dict(**common, split='val')
test = dict(**common, split='test')
