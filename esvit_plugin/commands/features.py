"""Write the features of images into an .npz file.

It holds ``paths`` (N,), ``pooled`` (N, C), ``regions`` (N, T, C), the positions of the
last map row by row, and ``last_blocks`` (N, D), the pooled outputs of the last blocks,
which the paper's linear probes take. It knows model and folder, so that esvit search
can find images in it. Damaged images are left out and named. When it is
interrupted, what it has is written beside it, into a file ending in .partial.npz.
"""

import argparse
import os

from mmengine.device import get_device

from .. import load_backbone
from ..datasets import ImageFiles
from ..engine.cli import check_at_least, check_output
from ..engine.fingerprints import fingerprint
from ..engine.options import add_config_options, check_out_option
from ..evaluation.dumped_config import evaluated_config
from ..evaluation.feature_file import (
    KEYS,
    FeatureOrigin,
    write_features,
)
from ..evaluation.loading import CONFIG_HELP
from ..models.utils import image_size


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help=CONFIG_HELP)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('images', nargs='+', help='images, or folders of images')
    parser.add_argument('-o', '--out', required=True, help='file to write, *.npz')
    parser.add_argument(
        '--student',
        action='store_true',
        help="an EsViT's student's; default its teacher's",
    )
    parser.add_argument(
        '--size', type=int, help="side of the images; default the backbone's img_size"
    )
    parser.add_argument('--keys', nargs='+', choices=KEYS, default=KEYS)
    parser.add_argument('--num-blocks', type=int, default=4)
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--num-workers', type=int, default=2)
    add_config_options(parser)
    args = parser.parse_args()
    check_out_option(parser, args.out, '.npz')
    return args


def absolute(name: str) -> str:
    """The absolute path of a file; what is none, a name or an address, as it is."""
    return os.path.abspath(name) if os.path.isfile(name) else name


def main() -> None:
    """Run the backbone over the images and save."""
    args = parse_args()
    check_at_least(1, size=args.size, batch_size=args.batch_size)
    check_at_least(1, num_blocks=args.num_blocks)
    check_at_least(0, num_workers=args.num_workers)
    check_output(args.out, args.checkpoint, args.config, *args.images)
    with evaluated_config(args.config, args.checkpoint, args.cfg_options) as config:
        model = load_backbone(config, args.checkpoint, args.student)
    size = args.size or image_size(model.backbone)
    images = ImageFiles(args.images, size, model.bit_depth)
    model.to(get_device())
    write_features(
        model,
        images,
        args.out,
        keys=args.keys,
        num_blocks=args.num_blocks,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        origin=FeatureOrigin(
            config=absolute(args.config),
            checkpoint=absolute(args.checkpoint),
            source=model.network,
            size=size,
            folder=os.getcwd(),
            options=args.cfg_options,
            digest=fingerprint(args.checkpoint),
        ),
    )
