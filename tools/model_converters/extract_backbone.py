"""Write the backbone of a pre-training checkpoint alone, for mmdet and mmseg.

Take it in a config with ``backbone=dict(init_cfg=dict(type='Pretrained',
checkpoint=DST), ...)``.
"""

import argparse
import os.path as osp

import torch
from mmengine.runner import CheckpointLoader

import esvit_plugin  # noqa: F401  lets mmengine read its own checkpoints


def main() -> None:
    """Read CHECKPOINT, take the backbone, write DST."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='checkpoint of an EsViT')
    parser.add_argument('dst', help='file to write')
    parser.add_argument(
        '--student', action='store_true', help="the student's; default the teacher's"
    )
    args = parser.parse_args()
    if not osp.isfile(args.checkpoint):
        raise FileNotFoundError(f'There is no checkpoint {args.checkpoint}.')
    checkpoint = CheckpointLoader.load_checkpoint(args.checkpoint, 'cpu')
    prefix = 'backbone.' if args.student else 'teacher.backbone.'
    weights = checkpoint.get('state_dict', checkpoint)
    backbone = {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }
    if not backbone:
        raise ValueError(
            f'{args.checkpoint} has no tensor whose name begins with {prefix}, so it '
            f'is no checkpoint of an EsViT. It has {list(weights)[:3]}, ...'
        )
    torch.save(dict(meta=dict(source=prefix), state_dict=backbone), args.dst)
    print(f'{len(backbone)} tensors of {prefix}* written to {args.dst}')


if __name__ == '__main__':
    main()
