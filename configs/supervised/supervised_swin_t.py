"""Swin-T trained on ImageNet-1K's labels, 300 epochs: what the paper compares with.

    python tools/transfer.py configs/esvit_swin_t.py work_dirs/esvit_swin_t/epoch_300.pth --against configs/supervised/supervised_swin_t.py swin_tiny_patch4_window7_224-160bb0a5.pth

The checkpoint is mmpretrain's swin-tiny_3rdparty_in1k, the weights of the Swin authors:
https://download.openmmlab.com/mmclassification/v0/swin-transformer/convert/swin_tiny_patch4_window7_224-160bb0a5.pth
The authors' own file, swin_tiny_patch4_window7_224.pth, is taken too. The recipe is
mmpretrain's; the backbone is EsViT's in the eps of these weights, so that the last
blocks and inputs of any size can be evaluated.
Published: 81.18 % top-1 (mmpretrain's metafile).
"""

_base_ = ['mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py']

custom_imports = dict(imports=['esvit_plugin'])
model = dict(backbone=dict(type='EsViTSwin', norm_cfg=dict(type='LN', eps=1e-5)))
