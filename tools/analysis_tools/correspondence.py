"""How well the regions of two views correspond.

The second view is the image's mirrored copy, colour-jittered with probability 0.8 and
grey; with --pairs crop a random crop of 40 to 60 % of its area; with --pairs other the
next image. Of the most similar region matches of each pair 'similarity' is the mean
cosine; of two views of one image 'accuracy' is the share at the true place, and 'error'
the mean distance from it in pixels, as in the paper. IMAGES are files, folders, or
names of bundled photographs, such as astronaut. Writes correspondence.json and
pictures.
"""

import argparse
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mmengine.device import get_device

from esvit_plugin import load_backbone
from esvit_plugin.engine.checkpoints import atomic_file
from esvit_plugin.engine.cli import run_tool
from esvit_plugin.evaluation import (
    cropped_copy,
    match_regions,
    mirrored_copy,
    region_map,
)
from esvit_plugin.evaluation.correspondence import Matches
from esvit_plugin.evaluation.images import open_images
from esvit_plugin.evaluation.loading import network_of
from esvit_plugin.evaluation.options import (
    add_model_options,
    add_picture_options,
    check_picture_options,
)
from esvit_plugin.evaluation.view_pairs import (
    JITTER_PROB,
    MIRRORED,
    PAIRS,
    Placement,
)
from esvit_plugin.visualization import plot_correspondence
from esvit_plugin.visualization.figures import check_matplotlib

MEASURES = ('accuracy', 'pixel_error', 'similarity')
Views = tuple[np.ndarray, np.ndarray]


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


def pairs(
    args: argparse.Namespace,
) -> Iterator[tuple[list[str], Views, Placement | None]]:
    """The paths of each pair, its two views, and where the second shows the first."""
    images = open_images(args.images, args.size)
    if args.pairs == 'other':
        both = itertools.pairwise(images)
        for number, ((path, image), (name, other)) in enumerate(both):
            rng = np.random.default_rng([args.seed, number])
            view, _ = cropped_copy(other, rng, jitter_prob=args.jitter_prob)
            yield [path, name], (image, view), None
        return
    for number, (path, image) in enumerate(images):
        rng = np.random.default_rng([args.seed, number])
        if args.pairs == 'crop':
            view, place = cropped_copy(image, rng, jitter_prob=args.jitter_prob)
        else:
            view, place = mirrored_copy(image, rng, args.jitter_prob), MIRRORED
        yield [path], (image, view), place


def measures(matches: Matches) -> dict[str, float]:
    """What there is of accuracy, error and similarity."""
    values = (matches.accuracy, matches.error, matches.similarity)
    return {k: v for k, v in zip(MEASURES, values, strict=True) if v is not None}


def line(values: dict[str, float]) -> str:
    """The measures as printed."""
    text = f'similarity {values["similarity"]:6.3f}   '
    if 'accuracy' not in values:
        return text
    accuracy, error = values['accuracy'], values['pixel_error']
    return f'accuracy {accuracy:5.1f} %   error {error:6.1f} px   {text}'


def main() -> None:
    """Match, measure, draw."""
    args = parse_args()
    if args.num_pictures:
        check_matplotlib()
    open_images(args.images, args.size)  # what is missing shows before the model
    network = network_of(args.config, args.student)
    model = load_backbone(args.config, args.checkpoint, args.student)
    model.to(get_device())
    os.makedirs(args.out, exist_ok=True)
    rows = []
    for number, (paths, views, place) in enumerate(pairs(args)):
        source, target = (region_map(model, view) for view in views)
        grid = source.shape[:2]
        step = args.size / grid[0], args.size / grid[1]
        matches = match_regions(source, target, args.num_matches, step, place)
        found = measures(matches)
        second = dict(other=paths[1]) if len(paths) > 1 else {}
        box = dict(box=list(place[:4])) if args.pairs == 'crop' and place else {}
        rows.append(dict(path=paths[0], **second, **box, **found))
        print(line(found) + ', '.join(paths))
        if number < args.num_pictures:
            title = f'{network}: similarity {matches.similarity:.2f}'
            if place:
                title += (
                    f', {matches.accuracy:.0f} % at the true place, '
                    f'error {matches.error:.0f} px'
                )
            names = '_'.join(Path(path).stem for path in paths)
            picture = f'correspondence_{number}_{names}.png'
            with atomic_file(os.path.join(args.out, picture)) as part:
                plot_correspondence(part, views, grid, [(title, matches.pairs)], place)
    if not rows:
        what = 'No two images' if args.pairs == 'other' else 'No image'
        raise ValueError(f'{what} could be read, nothing is written.')
    mean = {
        key: float(np.mean([row[key] for row in rows]))
        for key in MEASURES
        if key in rows[0]
    }
    what = 'pairs' if args.pairs == 'other' else 'images'
    print(f'{line(mean)}mean of {len(rows)} {what}, {network}')
    settings = ('config', 'checkpoint', 'size', 'seed', 'num_matches', 'pairs')
    out = os.path.join(args.out, 'correspondence.json')
    with atomic_file(out) as part, open(part, 'w') as file:
        record = {key: getattr(args, key) for key in settings}
        if args.pairs == 'mirrored':
            record['jitter_prob'] = args.jitter_prob
        json.dump(dict(record, network=network, mean=mean, images=rows), file, indent=1)
    print(f'Written into {args.out}')


if __name__ == '__main__':
    run_tool(main)
