"""Your own labelled folder: accuracy, a tenth of train held out for validation.

    python tools/transfer.py esvit_swin_folder epoch_100.pth \
        --datasets transfer_folder --data-root /path/to/labelled

The folder has train/ and val/, and each of them one folder per class. The number of
classes is that of the images, the size that of the pre-training.
"""

_base_ = ['../_base_/transfer.py']

name = 'Own folder'
num_classes = None
metric = 'accuracy'
data_root = ''  # given on the command line

common = dict(
    type='LabeledFolder',
    data_root=data_root,
    pipeline=[dict(type='LoadImage'), *_base_.resize],
)
whole = dict(**common, data_prefix='train')
train = dict(type='HeldOut', part='train', dataset=whole)
val = dict(type='HeldOut', part='val', dataset=whole)
test = dict(**common, data_prefix='val')
