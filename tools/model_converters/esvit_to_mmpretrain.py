"""Convert a checkpoint of the authors' EsViT program.

The result holds student, teacher, necks and centres in the names of this package:
load it with ``load_from``, or take the teacher's backbone with
``init_cfg=dict(type='Pretrained', checkpoint=DST, prefix='teacher.backbone.')``.
"""

import argparse
import os.path as osp
import pickle

import torch

from esvit_plugin.models.backbones.released import RELEASED_ARCHS
from esvit_plugin.models.selfsup.released import esvit_from_released


def main() -> None:
    """Read SRC, convert, write DST."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help='released checkpoint, e.g. checkpoint_best.pth')
    parser.add_argument('dst', help='file to write')
    parser.add_argument(
        '--arch',
        choices=sorted(RELEASED_ARCHS),
        help='architecture; found from the weights by default',
    )
    args = parser.parse_args()
    if not osp.isfile(args.src):
        raise FileNotFoundError(f'There is no checkpoint {args.src}.')
    # The authors saved their options, an argparse.Namespace, beside the weights.
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(args.src, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{args.src} is no checkpoint of the authors' program: it holds more than "
            'tensors and options, and is not loaded for safety.'
        ) from error
    config, state_dict = esvit_from_released(checkpoint, args.arch)
    meta = dict(epoch=checkpoint.get('epoch', 0), iter=0)
    torch.save(dict(meta=meta, state_dict=state_dict), args.dst)
    print(f'{len(state_dict)} tensors written to {args.dst}')
    print(f'The backbone is {config["backbone"]}')


if __name__ == '__main__':
    main()
