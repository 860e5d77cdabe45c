"""How well the regions of an image and of its mirrored copy correspond.

The copy is flipped, colour-jittered and grey. Of the most similar region matches of
each pair, 'accuracy' is the share at the mirrored position, and 'error' the mean
distance to it in pixels, as in the paper. IMAGES are files, folders, or names of
bundled photographs, such as astronaut. Writes correspondence.json and pictures.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from mmengine.device import get_device

from esvit_plugin import get_model
from esvit_plugin.engine.checkpoints import atomic_file
from esvit_plugin.engine.cli import check_output_folder, run_tool
from esvit_plugin.evaluation import (
    best_matches,
    match_accuracy,
    mirrored_copy,
    plot_correspondence,
    region_map,
)
from esvit_plugin.evaluation.figures import check_matplotlib
from esvit_plugin.evaluation.images import check_esvit, open_images


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the pre-training, or its name')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('images', nargs='+', metavar='IMAGES')
    parser.add_argument('-o', '--out', required=True, help='folder to write into')
    parser.add_argument(
        '--student', action='store_true', help="the student's; default the teacher's"
    )
    parser.add_argument(
        '--size', type=int, default=224, help='side of the images; default 224'
    )
    parser.add_argument('--seed', type=int, default=0, help="of the copies' colours")
    parser.add_argument('--num-matches', type=int, default=10)
    parser.add_argument(
        '--num-pictures', type=int, default=4, help='of the first images; default 4'
    )
    args = parser.parse_args()
    for name, least in (('size', 1), ('num_matches', 1), ('num_pictures', 0)):
        if getattr(args, name) < least:
            option = name.replace('_', '-')
            parser.error(f'--{option} must be >= {least}: {getattr(args, name)}')
    if os.path.isfile(args.out):
        parser.error(f'--out must be a folder, not a file: {args.out}')
    return args


def main() -> None:
    """Match, measure, draw."""
    args = parse_args()
    check_output_folder(args.out)
    if args.num_pictures:
        check_matplotlib()
    images = open_images(args.images, args.size)
    model = get_model(args.config, args.checkpoint)
    check_esvit(model)
    model.to(get_device())
    os.makedirs(args.out, exist_ok=True)
    network = 'student' if args.student else 'teacher'
    rows = []
    for number, (path, image) in enumerate(images):
        rng = np.random.default_rng([args.seed, number])
        views = image, mirrored_copy(image, rng)
        source, target = (region_map(model, view, network) for view in views)
        grid = source.shape[:2]
        step = args.size / grid[0], args.size / grid[1]
        accuracy, error = match_accuracy(source, target, args.num_matches, step)
        rows.append(dict(path=path, accuracy=accuracy, pixel_error=error))
        print(f'accuracy {accuracy:5.1f} %   error {error:6.1f} px   {path}')
        if number < args.num_pictures:
            flat = source.flatten(0, 1), target.flatten(0, 1)
            title = (
                f'{network}: {accuracy:.0f} % at the mirrored place, '
                f'error {error:.0f} px'
            )
            rows_of_picture = [(title, best_matches(*flat, args.num_matches))]
            picture = f'correspondence_{number}_{Path(path).stem}.png'
            with atomic_file(os.path.join(args.out, picture)) as part:
                plot_correspondence(part, views, grid, rows_of_picture)
    if not rows:
        raise ValueError('No image could be read, nothing is written.')
    mean = {
        k: float(np.mean([r[k] for r in rows])) for k in ('accuracy', 'pixel_error')
    }
    print(
        f'accuracy {mean["accuracy"]:5.1f} %   error {mean["pixel_error"]:6.1f} px   '
        f'mean of {len(rows)} images, {network}'
    )
    settings = ('config', 'checkpoint', 'size', 'seed', 'num_matches')
    out = os.path.join(args.out, 'correspondence.json')
    with atomic_file(out) as part, open(part, 'w') as file:
        record = {key: getattr(args, key) for key in settings}
        json.dump(dict(record, network=network, mean=mean, images=rows), file, indent=1)
    print(f'Written into {args.out}')


if __name__ == '__main__':
    run_tool(main)
