"""How well the regions of two views correspond.

The second view is the image's mirrored copy, colour-jittered with probability 0.8 and
grey. With --pairs relit it is that in a light that changes from side to side, with
--pairs inverted its negative, where brightness does not tell the place; with --pairs
crop a random crop of 40 to 60 % of the image's area; with --pairs other the next image.
Of the most similar region matches of each pair 'similarity' is the mean cosine; of two
views of one image 'accuracy' is the share at the true place, and 'error' the mean
distance from it in pixels, as in the paper; 'all' is the share among the matches of all
regions. IMAGES are files, folders, or names of bundled photographs, such as astronaut.
Writes correspondence.json and pictures.
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
from ..evaluation import match_views, open_pairs
from ..evaluation.dumped_config import evaluated_config
from ..evaluation.images import find_sources
from ..evaluation.options import (
    add_model_options,
    add_picture_options,
    check_picture_options,
    chosen_size,
)
from ..evaluation.view_pairs import COPIES, JITTER_PROB, PAIRS
from ..visualization import plot_correspondence
from ..visualization.figures import check_matplotlib, picture_name


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_options(parser)
    add_picture_options(parser)
    parser.add_argument(
        '--pairs',
        choices=PAIRS,
        default=PAIRS[0],
        help='what the image is matched with; default mirrored',
    )
    parser.add_argument(
        '--jitter-prob',
        type=float,
        default=JITTER_PROB,
        help='how often the colours of second views are jittered; default '
        f'{JITTER_PROB}',
    )
    parser.add_argument('--seed', type=int, default=0, help='of colours and crops')
    parser.add_argument('--num-matches', type=int, default=10)
    args = parser.parse_args()
    check_picture_options(parser, args, num_matches=1, seed=0)
    if not 0 <= args.jitter_prob <= 1:
        parser.error(f'--jitter-prob must lie between 0 and 1: {args.jitter_prob}')
    return args


def line(values: dict[str, float]) -> str:
    """The measures as printed."""
    text = f'similarity {values["similarity"]:6.3f}   '
    if 'accuracy' not in values:
        return text
    accuracy, error = values['accuracy'], values['pixel_error']
    every = values['accuracy_all']
    shares = f'accuracy {accuracy:5.1f} %   all {every:5.1f} %'
    return f'{shares}   error {error:6.1f} px   {text}'


def context(
    rows: list[dict[str, Any]], grid: tuple[int, int], pairs: str
) -> dict[str, Any]:
    """What to read the means by.

    Returns:
        The ``grid`` of regions; ``standard_error`` of each mean over the images, of two
        or more; ``chance``, the accuracy in percent of matches drawn at random, for
        copies, which have the same regions.
    """
    found: dict[str, Any] = dict(grid=list(grid))
    if len(rows) > 1:
        found['standard_error'] = {
            key: float(np.std([row[key] for row in rows], ddof=1) / len(rows) ** 0.5)
            for key, value in rows[0].items()
            if isinstance(value, float)
        }
    if pairs in COPIES:
        found['chance'] = 100 / math.prod(grid)
    return found


def main() -> None:
    """Match, measure, draw."""
    args = parse_args()
    if args.num_pictures:
        check_matplotlib()
    # First, so that a missing image shows before the model is loaded.
    sources = find_sources(args.images)
    with evaluated_config(args.config, args.checkpoint, args.cfg_options) as config:
        model = load_backbone(config, args.checkpoint, args.student)
    args.size = chosen_size(args.size, model)
    pairs = open_pairs(
        sources,
        args.size,
        args.pairs,
        args.seed,
        args.jitter_prob,
        model.bit_depth,
    )
    model.to(get_device())
    network = model.network
    os.makedirs(args.out, exist_ok=True)
    rows = []
    for number, pair in enumerate(pairs):
        matches = match_views(model, pair, args.num_matches)
        values = matches.measures()
        second = dict(other=pair.paths[1]) if args.pairs == 'other' else {}
        crop = pair.place if args.pairs == 'crop' else None
        box = dict(box=list(crop[:4])) if crop else {}
        rows.append(dict(path=pair.paths[0], **second, **box, **values))
        print(line(values) + ', '.join(pair.paths))
        if number < args.num_pictures:
            names = picture_name('_'.join(Path(path).stem for path in pair.paths))
            picture = os.path.join(args.out, f'correspondence_{number}_{names}.png')
            with atomic_file(picture) as part:
                plot_correspondence(part, pair, [(network, matches)])
    if not rows:
        what = 'No image could be read'
        if args.pairs == 'other':
            what = 'Fewer than the two images that --pairs other takes could be read'
        raise ValueError(f'{what}, nothing is written.')
    mean = {key: float(np.mean([row[key] for row in rows])) for key in values}
    what = 'pairs' if args.pairs == 'other' else 'images'
    print(f'{line(mean)}mean of {len(rows)} {what}, {network}')
    beside = context(rows, matches.grid, args.pairs)
    if 'chance' in beside:
        height, width = beside['grid']
        share = f'{beside["chance"]:.1f} % (one of {height} x {width} regions)'
        spread = beside.get('standard_error', {}).get('accuracy')
        text = '' if spread is None else f'standard error {spread:.1f} % over images; '
        print(f'accuracy: {text}by chance {share}')
    settings = ['config', 'checkpoint', 'size', 'seed', 'num_matches', 'pairs']
    settings += ['jitter_prob']
    settings += ['cfg_options'] if args.cfg_options else []
    record = {key: getattr(args, key) for key in settings}
    record.update(network=network, mean=mean, **beside, images=rows)
    out = os.path.join(args.out, 'correspondence.json')
    with atomic_file(out) as part, open(part, 'w') as file:
        json.dump(record, file, indent=1)
    print(f'Written into {args.out}')
