"""Write the backbone of a pre-training checkpoint alone, for mmdet and mmseg.

Take it in a config with ``backbone=dict(init_cfg=dict(type='Pretrained',
checkpoint=DST), ...)``. A name ending in .safetensors makes a file of that format, for
the tools of this package and other programs.
"""

import argparse
from typing import Any

from ..apis import read_weights
from ..engine.checkpoints import save_weights
from ..engine.cli import check_output
from ..engine.head_counts import stated_backbone
from ..models.conversion.names import STUDENT, TEACHER, convert_first, must_convert


def main() -> None:
    """Read CHECKPOINT, take the backbone, write DST."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='checkpoint of a pre-training')
    parser.add_argument('dst', help='file to write')
    parser.add_argument(
        '--student',
        action='store_true',
        help="an EsViT's student; default its teacher. Other methods have one backbone",
    )
    args = parser.parse_args()
    check_output(args.dst, args.checkpoint)
    weights = read_weights(args.checkpoint)
    has_teacher = any(name.startswith(TEACHER) for name in weights)
    prefix = TEACHER if has_teacher and not args.student else STUDENT
    backbone = {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }
    if not backbone and must_convert(weights):
        raise ValueError(convert_first(args.checkpoint))
    if not backbone:
        raise ValueError(
            f'{args.checkpoint} has no tensor whose name begins with {TEACHER} or '
            f'{STUDENT}, so it is no checkpoint of a pre-training, or a backbone alone '
            f'already. It has {list(weights)[:3]}, ...'
        )
    meta: dict[str, Any] = dict(source=prefix)
    # It tells the number of heads, which the weights do not.
    if stated := stated_backbone(args.checkpoint):
        meta['backbone'] = stated
    content = dict(meta=meta, state_dict=backbone)
    save_weights(args.dst, backbone, content)
    only = '' if has_teacher else ', the only backbone in it,'
    print(f'{len(backbone)} tensors of {prefix}*{only} written to {args.dst}')
