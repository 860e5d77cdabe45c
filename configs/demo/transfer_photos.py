"""Embedded photographs: accuracy, a tenth of train held out for validation.

    python tools/transfer.py configs/demo/esvit_swin_photos.py \
        work_dirs/esvit_swin_photos/epoch_10.pth --datasets configs/demo/transfer_photos.py

Training crops overlap those held out, so little regularisation is chosen.
"""

_base_ = ['../_base_/transfer.py']

name = 'Embedded photographs'
num_classes = 16
metric = 'accuracy'

# As the crops are, in the size of the pre-training.
common = dict(type='BundledPhotos', pipeline=[dict(type='PackInputs')])
whole = dict(**common, split='train')
train = dict(type='HeldOut', part='train', dataset=whole)
val = dict(type='HeldOut', part='val', dataset=whole)
test = dict(**common, split='test')

loader = dict(num_workers=0)
