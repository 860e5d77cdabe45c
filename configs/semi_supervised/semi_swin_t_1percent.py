"""Fine-tuning of EsViT, Swin-T, L_V + L_R, with 1 % of ImageNet-1K's labels.

    tools/dist_train.sh configs/semi_supervised/semi_swin_t_1percent.py 8 --amp

The images are those of SimCLR's list, imagenet_subsets/1percent.txt of
github.com/google-research/simclr; this takes them out of mmpretrain's list of all:

    grep -Ff 1percent.txt data/imagenet/meta/train.txt > data/imagenet/meta/train_1percent.txt

See semi_swin_t_10percent.py for the rest; the training is longer, as an epoch has 50
iterations only.
"""

_base_ = ['./semi_swin_t_10percent.py']

train_dataloader = dict(dataset=dict(ann_file='meta/train_1percent.txt'))
train_cfg = dict(max_epochs=300)
