"""Write a pre-trained Swin or plain ViT backbone as a state dict of timm.

The file holds what ``timm.create_model(...).load_state_dict`` takes; the call to make
is printed. A name ending in .safetensors makes a file of that format.
"""

import argparse
from typing import Any

import timm
import torch

from .. import load_backbone
from ..engine.checkpoints import save_weights
from ..engine.cli import check_output
from ..engine.options import add_config_options
from ..evaluation.dumped_config import evaluated_config
from ..evaluation.loading import CONFIG_HELP
from ..models.checks import height_and_width
from ..models.conversion.timm_export import to_timm


def main() -> None:
    """Read CHECKPOINT, convert, compare, write DST."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help=CONFIG_HELP)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('dst', help='file to write')
    parser.add_argument(
        '--student',
        action='store_true',
        help="an EsViT's student's; default its teacher's",
    )
    add_config_options(parser)
    args = parser.parse_args()
    check_output(args.dst, args.config, args.checkpoint)
    with evaluated_config(args.config, args.checkpoint, args.cfg_options) as config:
        backbone = load_backbone(config, args.checkpoint, args.student).backbone
    arguments, state_dict = to_timm(backbone)
    if hasattr(backbone, 'out_type'):
        backbone.out_type = 'raw'  # the tokens, as timm's give them
    other: Any = timm.create_model(**arguments)
    other.load_state_dict(state_dict, strict=True)
    other.eval()
    sides = height_and_width('timm', arguments.get('img_size', 224))
    images = torch.randn(2, 3, *sides)
    with torch.no_grad():
        features = other.forward_features(images)
        if features.dim() == 4:  # channels last
            features = features.permute(0, 3, 1, 2)
        error = (features - backbone(images)[-1]).abs().max().item()
    # Not a number is no agreement.
    if not error <= 1e-3:
        raise ValueError(
            f'The model of timm gives other features (largest difference {error:.1e}); '
            f'{args.dst} is not written. The backbone has options that timm lacks.'
        )
    save_weights(args.dst, state_dict)
    options = ', '.join(f'{k}={v!r}' for k, v in arguments.items())
    print(f'{len(state_dict)} tensors written to {args.dst}; load them with')
    print(f'    model = timm.create_model({options})')
    load = f'torch.load({args.dst!r}, weights_only=True)'
    if args.dst.endswith('.safetensors'):
        load = f'safetensors.torch.load_file({args.dst!r})'
    print(f'    model.load_state_dict({load})')
    print(f'Largest difference of its features on a random image: {error:.1e}')
