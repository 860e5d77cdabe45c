"""What the data sets of the transfer evaluation share: pipelines and the loader.

    python tools/transfer.py esvit_swin_t work_dirs/esvit_swin_t/epoch_300.pth

evaluates all of configs/transfer/ with scikit-learn's logistic regression, on images
below data/. The files that a set needs are in the docstring of its data set class.
"""

default_scope = 'mmpretrain'
custom_imports = dict(imports=['esvit_plugin'])

# Of the images; tools/transfer.py takes the size that the backbone was made for.
size = 224
resize = [
    dict(
        type='ResizeEdge',
        scale=size,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=size),
    dict(type='PackInputs'),
]
# Pillow, as some files of these sets are not of the type that they are named after.
pipeline = [dict(type='LoadImage', imdecode_backend='pillow'), *resize]
# For sets that come as arrays.
array_pipeline = [dict(type='ArrayToBGR'), *resize]

loader = dict(batch_size=128, num_workers=8)
