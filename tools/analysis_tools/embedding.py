"""Features in the plane by t-SNE or UMAP, coloured by the folder of each image.

FEATURES is what tools/extract_features.py wrote. Distances are those between unit
vectors, as in k-NN classification.
"""

import argparse
import os
import zipfile
from importlib.util import find_spec

import numpy as np

from esvit_plugin.engine.checkpoints import atomic_file
from esvit_plugin.engine.cli import check_at_least, check_output, run_tool
from esvit_plugin.visualization import draw_embedding
from esvit_plugin.visualization.figures import check_matplotlib

# Package of each method, and what to install.
PACKAGES = {
    'tsne': ('sklearn', '"esvit_plugin[demo]"'),
    'umap': ('umap', 'umap-learn'),
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('features', help='*.npz of tools/extract_features.py')
    parser.add_argument('-o', '--out', required=True, help='picture to write, *.png')
    parser.add_argument('--key', default='pooled', help='default pooled')
    parser.add_argument('--method', choices=PACKAGES, default='tsne')
    parser.add_argument(
        '--num-images', type=int, default=5000, help='at most so many, drawn at random'
    )
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    folder = os.path.dirname(os.path.abspath(args.out))
    if not args.out.endswith('.png') or not os.path.isdir(folder):
        parser.error(f'--out must be a .png file in an existing folder: {args.out}')
    package, remedy = PACKAGES[args.method]
    if find_spec(package) is None:
        parser.error(f'--method {args.method} needs {package}: pip install {remedy}')
    return args


def load(path: str, key: str) -> tuple[np.ndarray, list[str]]:
    """Features (N, C) and the folder of each image."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f'There is no file {path}.')
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile):
        # numpy's own messages say how to run what such a file may hold.
        raise ValueError(
            f'{path} is no .npz file of numbers, or is damaged. Write it by '
            'tools/extract_features.py.'
        ) from None
    names = [name for name, array in arrays.items() if array.ndim == 2]
    if key not in names or 'paths' not in arrays:
        raise ValueError(
            f'{path} has no paths and features {key!r} (N, C); it has '
            f'{", ".join(names) or "no features"} of this kind. Write it by '
            'tools/extract_features.py, and choose by --key.'
        )
    if not np.isfinite(arrays[key]).all():
        raise ValueError(f'{path} has features {key!r} that are not finite.')
    return arrays[key], folders([str(path) for path in arrays['paths']])


def folders(paths: list[str]) -> list[str]:
    """Where each image lies below the folder that all images share."""
    parents = [os.path.dirname(os.path.abspath(path)) for path in paths]
    root = os.path.commonpath(parents)
    below = [os.path.relpath(parent, root) for parent in parents]
    return [os.path.basename(root) if name == '.' else name for name in below]


def project(features: np.ndarray, method: str, seed: int) -> np.ndarray:
    """Features (N, C) to points (N, 2)."""
    if len(features) < 4:
        raise ValueError(
            f'An embedding needs at least 4 images, got {len(features)}; give '
            'tools/extract_features.py more.'
        )
    features = features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    if method == 'umap':
        from umap import UMAP

        neighbors = min(15, len(features) - 1)
        return UMAP(n_neighbors=neighbors, random_state=seed).fit_transform(features)
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(features) - 1) / 3)
    return TSNE(perplexity=perplexity, random_state=seed).fit_transform(features)


def main() -> None:
    """Load, project, draw."""
    args = parse_args()
    check_at_least(1, num_images=args.num_images)
    check_output(args.out, args.features)
    check_matplotlib()
    features, labels = load(args.features, args.key)
    if len(features) > args.num_images:
        rng = np.random.default_rng(args.seed)
        picked = rng.choice(len(features), args.num_images, replace=False)
        features, labels = features[picked], [labels[i] for i in picked]
    points = project(features, args.method, args.seed)
    name = 't-SNE' if args.method == 'tsne' else 'UMAP'
    title = f'{name} of {args.key} features, {len(points)} images'
    with atomic_file(args.out) as part:
        draw_embedding(points, labels, title).savefig(part)
    print(f'{args.out}: {len(points)} images of {len(set(labels))} folders')


if __name__ == '__main__':
    run_tool(main)
