"""Features in the plane by t-SNE or UMAP, coloured by the class of each image.

FEATURES is what esvit features wrote. A class is a folder, by default the
first below the one that all images share. Distances are those between unit vectors, as
in k-NN classification.
"""

import argparse
from importlib.util import find_spec

import numpy as np

from ..engine.checkpoints import atomic_file
from ..engine.cli import check_at_least, check_output
from ..engine.options import check_out_option
from ..evaluation.embedding import embed_in_plane
from ..evaluation.feature_file import read_features
from ..visualization import draw_embedding
from ..visualization.figures import check_matplotlib

# Title and package of each method, and what to install.
METHODS = {
    'tsne': ('t-SNE', 'sklearn', '"esvit_plugin[demo]"'),
    'umap': ('UMAP', 'umap', 'umap-learn'),
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('features', help='*.npz of esvit features')
    parser.add_argument('-o', '--out', required=True, help='picture to write, *.png')
    parser.add_argument('--key', default='pooled', help='default pooled')
    parser.add_argument('--method', choices=METHODS, default='tsne')
    parser.add_argument(
        '--num-images', type=int, default=5000, help='at most so many, drawn at random'
    )
    parser.add_argument(
        '--level',
        type=int,
        help='of the folders that are classes: 1 for the first below the one that all '
        'images share, 2 for the next; -1 for the one that holds the image. Default 1, '
        'or 2 below train, val and test',
    )
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    check_out_option(parser, args.out, '.png')
    if args.level == 0:
        parser.error('--level must be 1 or more, or -1 or less: 0')
    _, package, remedy = METHODS[args.method]
    if find_spec(package) is None:
        parser.error(f'--method {args.method} needs {package}: pip install {remedy}')
    return args


def main() -> None:
    """Load, project, draw."""
    args = parse_args()
    check_at_least(1, num_images=args.num_images)
    check_output(args.out, args.features)
    check_matplotlib()
    features, labels = read_features(args.features, args.key, args.level)
    if len(features) > args.num_images:
        rng = np.random.default_rng(args.seed)
        picked = rng.choice(len(features), args.num_images, replace=False)
        features, labels = features[picked], [labels[i] for i in picked]
    points = embed_in_plane(features, args.method, args.seed)
    title = f'{METHODS[args.method][0]} of {args.key} features, {len(points)} images'
    with atomic_file(args.out) as part:
        draw_embedding(points, labels, title).savefig(part)
    print(f'{args.out}: {len(points)} images of {len(set(labels))} classes')
