"""DeiT-S/16 trained on ImageNet-1K's labels, 300 epochs.

    python tools/transfer.py configs/esvit_deit_s.py work_dirs/esvit_deit_s/epoch_300.pth --against configs/supervised/supervised_deit_s.py deit-small_pt-4xb256_in1k_20220218-9425b9bb.pth

The checkpoint is mmpretrain's deit-small_4xb256_in1k:
https://download.openmmlab.com/mmclassification/v0/deit/deit-small_pt-4xb256_in1k_20220218-9425b9bb.pth
The authors' own file, deit_small_patch16_224-cd65a155.pth, is taken too.
Published: 80.69 % top-1 (mmpretrain's metafile).
"""

_base_ = ['mmpretrain::deit/deit-small_4xb256_in1k.py']

custom_imports = dict(imports=['esvit_plugin'])
