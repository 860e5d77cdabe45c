"""Convert a checkpoint of the authors' EsViT program.

The result holds student, teacher, necks and centres in the names of this package:
load it with ``load_from``, or take the teacher's backbone with
``init_cfg=dict(type='Pretrained', checkpoint=DST, prefix='teacher.backbone.')``.
"""

import argparse

import torch

from esvit_plugin.engine.checkpoints import (
    atomic_file,
    check_finite_weights,
    load_checkpoint_file,
)
from esvit_plugin.engine.cli import check_output, run_tool
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
    check_output(args.dst, args.src)
    # The authors saved their options, an argparse.Namespace, beside the weights.
    with torch.serialization.safe_globals([argparse.Namespace]):
        checkpoint = load_checkpoint_file(args.src)
    try:
        config, state_dict = esvit_from_released(checkpoint, args.arch)
    except ValueError as error:
        raise ValueError(f'{args.src}: {error}') from error
    meta = dict(epoch=checkpoint.get('epoch', 0), iter=0)
    check_finite_weights(state_dict, args.src)
    with atomic_file(args.dst) as path:
        torch.save(dict(meta=meta, state_dict=state_dict), path)
    print(f'{len(state_dict)} tensors written to {args.dst}')
    print(f'The backbone is {config["backbone"]}')


if __name__ == '__main__':
    run_tool(main)
