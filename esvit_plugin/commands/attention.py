"""Where the heads of the last block look, and how widely.

For EsViTSwin, ViL, CvT, the Swin and ViT of mmpretrain, and those of timm. IMAGES are
files, folders, or names of bundled photographs, such as astronaut. The entropy of each
head, mean over all images and queries, is printed, and written into attention.json.
Each of the first images has two pictures, in which the heads are sorted by entropy: a
line for each query, on it the query's position, the mean over the heads, and every
head. attention_*.png has maps of the weights, masks_*.png the smallest part of the
image that holds 60 % of them.
"""

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.device import get_device

from .. import load_backbone
from ..engine.checkpoints import atomic_file
from ..evaluation.attention import BlockAttention, Query
from ..evaluation.attention_statistics import attend, image_entropy
from ..evaluation.dumped_config import evaluated_config
from ..evaluation.images import find_sources, open_images
from ..evaluation.options import (
    add_model_options,
    add_picture_options,
    check_picture_options,
    chosen_size,
)
from ..visualization import draw_attention
from ..visualization.figures import check_matplotlib, picture_name


def query(text: str) -> Query:
    """A query of the command line."""
    if text == 'cls':
        return text
    try:
        row, col = text.split(',')
        return int(row), int(col)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'a query is ROW,COL, e.g. 3,3, or cls: {text!r}'
        ) from None


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_options(parser)
    add_picture_options(parser)
    parser.add_argument(
        '--queries',
        nargs='+',
        type=query,
        help='ROW,COL in positions of the last map, from 0,0 in the upper left, or cls '
        'for the class token; default: five positions, and cls if there is one',
    )
    parser.add_argument(
        '--mass', type=float, default=0.6, help='share that masks hold; default 0.6'
    )
    parser.add_argument(
        '--order',
        choices=('entropy', 'number'),
        default='entropy',
        help='of the heads in pictures; default entropy, the lowest first',
    )
    args = parser.parse_args()
    check_picture_options(parser, args)
    if not 0 < args.mass <= 1:
        parser.error(f'--mass must be above 0 and at most 1: {args.mass}')
    return args


def draw(
    args: argparse.Namespace,
    number: int,
    name: str,
    image: np.ndarray,
    attention: BlockAttention,
    **options: Any,
) -> None:
    """Write the two pictures of an image."""
    queries = args.queries or attention.default_queries()
    height, width = attention.grid
    for kind, mass in (('attention', None), ('masks', args.mass)):
        figure = draw_attention(
            image, attention, queries, mass=mass, title=name, **options
        )
        out = os.path.join(args.out, f'{kind}_{number}_{picture_name(name)}.png')
        with atomic_file(out) as part:
            figure.savefig(part)
        share = f', {100 * mass:g} % of the mass' if mass else ''
        print(f'{out}: {height}x{width} positions, {len(queries)} queries{share}')


def main() -> None:
    """Measure all images, draw the first."""
    args = parse_args()
    if args.num_pictures:
        check_matplotlib()
    # First, so that a missing image shows before the model is loaded.
    sources = find_sources(args.images)
    with evaluated_config(args.config, args.checkpoint, args.cfg_options) as config:
        model = load_backbone(config, args.checkpoint, args.student)
    args.size = chosen_size(args.size, model)
    images = open_images(sources, args.size, model.bit_depth)
    model.to(get_device())
    entropy, count, first_images = image_entropy(
        model, images, args.queries or [], args.num_pictures
    )
    order = sorted(range(len(entropy)), key=lambda head: entropy[head])
    os.makedirs(args.out, exist_ok=True)
    for head in order:
        print(f'head {head + 1:<3} entropy {entropy[head]:6.3f} nats')
    mean = math.fsum(entropy) / len(entropy)
    print(f'mean     entropy {mean:6.3f} nats, {count} images, {model.network}')
    record = {key: getattr(args, key) for key in ('config', 'checkpoint', 'size')}
    if args.cfg_options:
        record['cfg_options'] = args.cfg_options
    record.update(
        network=model.network,
        num_images=count,
        mean_entropy=mean,
        entropy=entropy,
        heads_by_entropy=[head + 1 for head in order],
    )
    out = os.path.join(args.out, 'attention.json')
    with atomic_file(out) as part, open(part, 'w') as file:
        json.dump(record, file, indent=1)
    heads = order if args.order == 'entropy' else None
    for number, (path, image) in enumerate(first_images):
        name, attention = Path(path).stem, attend(model, image)
        draw(args, number, name, image, attention, heads=heads, entropy=entropy)
