"""Convert weights of the authors' programs: EsViT's, DINO's, MAE-lite's, MoCo v3's.

Of a full checkpoint (student, teacher, dino_loss) the result holds student, teacher,
necks and centres in the names of this package: load it with ``load_from``. Of weights
that hold a backbone alone (DINO's backbone files, timm's and torchvision's names, a
teacher without the rest) it holds that backbone, as student's and as teacher's. Either
is what the tools of this package take as CHECKPOINT, and the configs of configs/linear,
finetune, detection and segmentation with
``init_cfg=dict(type='Pretrained', checkpoint=DST, prefix='teacher.backbone.')``. A
pre-training of MoCo v3 or MAE-lite becomes that of configs/mocov3 or configs/mae_lite,
with prefix='backbone.'.
"""

import argparse
from typing import Any

from torch import Tensor

from ..engine.checkpoints import (
    check_finite_weights,
    load_checkpoint_file,
    save_weights,
)
from ..engine.cli import check_output
from ..models.conversion.backbones import RELEASED_ARCHS
from ..models.conversion.esvit import (
    esvit_from_released,
    is_full_checkpoint,
)
from ..models.conversion.files import find_released_backbone
from ..models.conversion.mae import is_mae_lite_checkpoint, mae_lite_from_released
from ..models.conversion.mocov3 import is_mocov3_training, mocov3_from_released
from ..models.conversion.names import EXTRACTOR, STUDENT, TEACHER, check_tensors


def main() -> None:
    """Read SRC, convert, write DST."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help='released file, e.g. checkpoint_best.pth')
    parser.add_argument('dst', help='file to write')
    parser.add_argument(
        '--arch',
        choices=sorted(RELEASED_ARCHS),
        help='architecture; found from the weights by default',
    )
    parser.add_argument(
        '--backbone-only',
        action='store_true',
        help="convert only the teacher's backbone of a full checkpoint, of MoCo v3 the "
        'base encoder',
    )
    args = parser.parse_args()
    check_output(args.dst, args.src)
    checkpoint = load_checkpoint_file(args.src, released=True)
    notes: list[str] = []
    is_moco = is_mocov3_training(checkpoint)
    try:
        check_tensors(checkpoint)
        if is_moco:
            config, state_dict = mocov3_from_released(checkpoint, args.arch)
            backbone = config['backbone']
            if args.backbone_only:
                state_dict = {
                    n: v for n, v in state_dict.items() if n.startswith(STUDENT)
                }
        elif is_mae_lite_checkpoint(checkpoint):
            if args.arch or args.backbone_only:
                raise ValueError(
                    'It is a pre-training of MAE-lite, which --arch and --backbone-only'
                    ' are not for; leave them out.'
                )
            config, state_dict = mae_lite_from_released(checkpoint)
            backbone = config['backbone']
        elif is_full_checkpoint(checkpoint) and not args.backbone_only:
            config, state_dict = esvit_from_released(checkpoint, args.arch)
            backbone = config['backbone']
        else:
            backbone, state_dict, notes = convert_backbone(checkpoint, args.arch)
    except ValueError as error:
        raise ValueError(f'{args.src}: {error}') from error
    epoch = checkpoint.get('epoch')
    # The number of heads is not in the weights.
    meta = dict(
        epoch=epoch if isinstance(epoch, int) else 0, iter=0, backbone=dict(backbone)
    )
    check_finite_weights(state_dict, args.src)
    save_weights(args.dst, state_dict, dict(meta=meta, state_dict=state_dict))
    print(f'{len(state_dict)} tensors written to {args.dst}')
    for note in notes:
        print(note)
    print(f'The backbone is {backbone}')
    has_teacher = any(name.startswith(TEACHER) for name in state_dict)
    if has_teacher:
        folder = _folder(backbone)
    else:
        folder = 'mocov3/evaluation' if is_moco else 'mae_lite'
    print(
        f'Evaluate it: {args.dst} is the CHECKPOINT of esvit knn, esvit transfer '
        'and esvit features, and the model.backbone.init_cfg.checkpoint of configs/'
        f'{folder}.'
    )
    option = '' if has_teacher else ' --student'
    print(f'The backbone alone, without a prefix: {EXTRACTOR} {args.dst} DST{option}')


def _folder(backbone: dict[str, Any]) -> str:
    """Where a backbone is evaluated; narrow ViTs of 12 heads are no DeiT."""
    arch = backbone.get('arch')
    if not isinstance(arch, dict) or arch.get('num_heads') != 12:
        return 'linear'
    return {192: 'mae_lite', 384: 'mocov3/evaluation'}.get(arch['embed_dims'], 'linear')


def convert_backbone(
    checkpoint: dict[str, Any], arch: str | None
) -> tuple[dict[str, Any], dict[str, Tensor], list[str]]:
    """Convert a file without a training, as student's and as teacher's backbone.

    Args:
        checkpoint: What the file holds.
        arch: As for ``--arch``.

    Returns:
        Config of the backbone, the weights to write and what to tell the user.
    """
    released = find_released_backbone(checkpoint, arch)
    # The file stores tensors once that have two names.
    state_dict = {
        f'{prefix}{name}': value
        for prefix in (STUDENT, TEACHER)
        for name, value in released.weights.items()
    }
    place = f'under {released.source!r}' if released.source else 'in the file'
    notes = [
        f'They are the backbone {place}, named {STUDENT}* and {TEACHER}*; there are no '
        'projection heads to go on training with.'
    ]
    if released.dropped:
        names = ', '.join(released.dropped[:3])
        more = ', ...' if len(released.dropped) > 3 else ''
        notes.append(
            f'Left out: the {len(released.dropped)} tensors of heads, {names}{more}'
        )
    return released.config, state_dict, notes
