"""Find the images that are most similar to others.

FEATURES is what esvit features wrote of a folder; it knows the model, which
embeds IMAGE, too. Similarity is the cosine of the pooled features. Prints a table, and
draws the images with --out. An image that is in FEATURES itself is not its own
neighbour.
"""

import argparse

from mmengine.device import get_device

from .. import load_backbone
from ..engine.checkpoints import atomic_file
from ..engine.cli import check_at_least, check_output
from ..engine.fingerprints import fingerprint
from ..engine.options import add_config_options, check_out_option
from ..evaluation.dumped_config import evaluated_config
from ..evaluation.feature_file import FeatureOrigin, read_origin
from ..evaluation.search import Neighbours, similar_images
from ..visualization import draw_neighbours
from ..visualization.figures import check_matplotlib


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('features', help='*.npz of esvit features')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image files')
    parser.add_argument('-o', '--out', help='picture to write, *.png')
    parser.add_argument(
        '--num-neighbours', type=int, default=5, help='of each image; default 5'
    )
    parser.add_argument(
        '--config', help='config of the model or its name; default what FEATURES names'
    )
    parser.add_argument('--checkpoint', help='its checkpoint; default likewise')
    add_config_options(parser)
    args = parser.parse_args()
    if args.out is not None:
        check_out_option(parser, args.out, '.png')
    return args


def find_origin(args: argparse.Namespace) -> FeatureOrigin:
    """How the features were made: what the file says, then the command line."""
    origin = read_origin(args.features)
    if origin is None and not (args.config and args.checkpoint):
        raise ValueError(
            f'{args.features} does not say which model it is of, as it was written by '
            'an older version: give --config and --checkpoint, or write it again by '
            'esvit features.'
        )
    origin = origin or FeatureOrigin(args.config, args.checkpoint)
    return origin._replace(
        config=args.config or origin.config,
        checkpoint=args.checkpoint or origin.checkpoint,
        options={**(origin.options or {}), **(args.cfg_options or {})},
    )


def check_checkpoint(features: str, origin: FeatureOrigin) -> None:
    """Refuse a checkpoint with another content than that which the features are of.

    Files of older versions do not say which it was.

    Raises:
        ValueError: If it is another one; the message says what to do.
    """
    digest = fingerprint(origin.checkpoint)
    if origin.digest and digest and digest != origin.digest:
        raise ValueError(
            f'{origin.checkpoint} is not the checkpoint that {features} was made with: '
            'it was written over, or is another one. Give that one by --checkpoint, or '
            f'make {features} again by esvit features.'
        )


def table(row: Neighbours) -> str:
    """The neighbours of an image, a line each."""
    lines = [row.query]
    for number, (path, similarity) in enumerate(
        zip(row.paths, row.similarities, strict=True), 1
    ):
        lines.append(f'{number:4d}  {similarity:6.3f}  {path}')
    return '\n'.join(lines)


def main() -> None:
    """Embed, compare, print, draw."""
    args = parse_args()
    check_at_least(1, num_neighbours=args.num_neighbours)
    if args.out is not None:
        check_output(args.out, args.features, *args.images)
        check_matplotlib()
    origin = find_origin(args)
    check_checkpoint(args.features, origin)
    with evaluated_config(origin.config, origin.checkpoint, origin.options) as config:
        student = origin.source == 'student'
        model = load_backbone(config, origin.checkpoint, student)
    model.to(get_device())
    rows = similar_images(
        model, args.features, args.images, origin, args.num_neighbours
    )
    for row in rows:
        print(table(row))
    if args.out is not None:
        with atomic_file(args.out) as part:
            draw_neighbours(rows, model.bit_depth).savefig(part)
        print(f'{args.out}: {len(rows)} images and their neighbours')
