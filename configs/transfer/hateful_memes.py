"""Hateful Memes: area under the ROC curve, a tenth of train held out for validation;
tested on dev, as the labels of test are not public."""

_base_ = ['../_base_/transfer.py']

name = 'Hateful Memes'
num_classes = 2
metric = 'roc_auc'
data_root = 'data/hateful_memes'

common = dict(
    type='HatefulMemes',
    data_root=data_root,
    pipeline={{_base_.pipeline}},
)
whole = dict(**common, split='train')
train = dict(type='HeldOut', part='train', dataset=whole)
val = dict(type='HeldOut', part='val', dataset=whole)
test = dict(**common, split='dev')
