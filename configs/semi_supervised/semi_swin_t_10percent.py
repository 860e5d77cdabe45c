"""Fine-tuning of EsViT, Swin-T, L_V + L_R, with 10 % of ImageNet-1K's labels.

    tools/dist_train.sh configs/semi_supervised/semi_swin_t_10percent.py 8 --amp

The images are those of SimCLR's list, imagenet_subsets/10percent.txt of
github.com/google-research/simclr; this takes them out of mmpretrain's list of all:

    grep -Ff 10percent.txt data/imagenet/meta/train.txt > data/imagenet/meta/train_10percent.txt

It reads work_dirs/esvit_swin_t/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
The recipe is finetune_swin_t.py's with crops and flips alone and a smaller batch, which
is this package's choice; no accuracy is published for it.
"""

_base_ = ['../finetune/finetune_swin_t.py']

model = dict(train_cfg=None)

# 8 GPUs x 32 images: 1.25e-3 x 256 / 512
train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        type='ListedImageNet',
        ann_file='meta/train_10percent.txt',
        pipeline=[
            dict(type='LoadImage', on_error='skip'),
            dict(
                type='RandomResizedCrop',
                scale=224,
                backend='pillow',
                interpolation='bicubic',
            ),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
    ),
)
optim_wrapper = dict(optimizer=dict(lr=6.25e-4))
auto_scale_lr = dict(base_batch_size=256)
