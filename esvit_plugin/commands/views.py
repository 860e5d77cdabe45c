"""Draw the views that a config's augmentation makes of images.

Each image, or each of some images of the training set, goes through the config's own
pipeline, and through the part of the model that finishes views on the device: the
picture shows what the network is given, without normalisation. The same image named
twice has other views.
"""

import argparse
import os
import tempfile

from PIL import Image

from ..datasets import PHOTO_NAMES, ImageFiles, load_photo
from ..engine.checkpoints import atomic_file
from ..engine.cli import check_at_least, check_output
from ..engine.configs import load_config
from ..engine.data_folders import check_data_roots
from ..engine.options import add_config_options, check_out_option
from ..visualization import draw_views, sample_views
from ..visualization.figures import check_matplotlib


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of a training, or its name')
    parser.add_argument(
        'images',
        nargs='*',
        metavar='IMAGE',
        help='files, folders, or names of bundled photographs; default some images of '
        'the training set',
    )
    parser.add_argument('-o', '--out', required=True, help='picture to write, *.png')
    parser.add_argument(
        '--num-images', type=int, default=4, help='at most so many; default 4'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the views')
    parser.add_argument('--epoch', type=int, default=1, help='of the views, from 1')
    add_config_options(parser)
    args = parser.parse_args()
    check_out_option(parser, args.out, '.png')
    return args


def find_images(sources: list[str], folder: str) -> list[str]:
    """Files of images; bundled photographs are written into the folder."""
    paths: list[str] = []
    for source in sources:
        if source in PHOTO_NAMES and not os.path.exists(source):
            path = os.path.join(folder, f'{source}.png')
            Image.fromarray(load_photo(source, 512)).save(path)
            paths.append(path)
        else:
            paths += ImageFiles([source], 1).paths
    return paths


def main() -> None:
    """Make the views and draw them."""
    args = parse_args()
    check_at_least(1, num_images=args.num_images, epoch=args.epoch)
    check_at_least(0, seed=args.seed)
    check_output(args.out, *args.images)
    check_matplotlib()
    cfg = load_config(args.config, args.cfg_options)
    with tempfile.TemporaryDirectory() as folder:
        paths = None
        if args.images:
            paths = find_images(args.images, folder)[: args.num_images]
        else:
            check_data_roots(cfg, cfg.get('train_dataloader'))
        samples = [
            *sample_views(cfg, paths, args.num_images, args.seed, args.epoch - 1)
        ]
    with atomic_file(args.out) as part:
        draw_views(samples).savefig(part)
    print(f'{args.out}: {len(samples)} images, {len(samples[0].views)} views of each')
