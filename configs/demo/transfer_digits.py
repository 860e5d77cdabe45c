"""scikit-learn's digits: accuracy, a tenth of train held out for validation.

    python tools/transfer.py configs/demo/esvit_swin_photos.py \
        work_dirs/esvit_swin_photos/epoch_10.pth --datasets configs/demo/transfer_digits.py

An easy set: logistic regression on the pixels alone is right on more than 90 %.
"""

_base_ = ['../_base_/transfer.py']

name = 'Digits of scikit-learn'
num_classes = 10
metric = 'accuracy'

common = dict(
    type='Digits',
    # In the size of the demo's pre-training.
    pipeline=[
        dict(type='ArrayToBGR'),
        dict(type='Resize', scale=64, backend='pillow', interpolation='bicubic'),
        dict(type='PackInputs'),
    ],
)
whole = dict(**common, split='train')
train = dict(type='HeldOut', part='train', dataset=whole)
val = dict(type='HeldOut', part='val', dataset=whole)
test = dict(**common, split='test')

loader = dict(num_workers=0)
