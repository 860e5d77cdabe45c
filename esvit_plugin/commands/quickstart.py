"""Pre-train a small EsViT on embedded photographs, and look at what it learnt.

Prints the k-NN accuracy on raw pixels, with random weights and with the trained
teacher, and draws the learning curve and region correspondences.
"""

import argparse
import copy
import os.path as osp

import numpy as np
import torch

from ..datasets.loaders import build_eval_loader
from ..engine.checkpoints import atomic_file
from ..engine.cli import check_output_folder
from ..engine.launch import build_runner, prepare_launch
from ..engine.options import add_run_options, load_run_config
from ..evaluation import ViewPair, match_views, open_pairs
from ..evaluation.correspondence import Matches
from ..evaluation.knn import find_loaders, knn_accuracy
from ..models import EsViT
from ..visualization import draw_runs, plot_correspondence, read_run
from ..visualization.figures import check_matplotlib
from ..visualization.logs import BASELINE

CONFIG = 'esvit_swin_photos'
PHOTOS = ('astronaut', 'chelsea', 'coffee', 'motorcycle_left', 'china', 'flower')
NUM_MATCHES = 10
# Whole windows in every stage of the demo's backbone.
SIZE = 256


def knn_top1(model: EsViT, loaders: list, raw: bool = False) -> float:
    """20-NN top-1 accuracy in percent of the teacher, or of raw pixels."""
    extract = (lambda images: images.flatten(1)) if raw else None
    return knn_accuracy(model, loaders, ks=[20], extract=extract)[20][0]


def correspondence(model: EsViT, pairs: list[ViewPair]) -> tuple[Matches, float]:
    """Matches on the first photograph, and the mean accuracy over all."""
    matches = [match_views(model, pair, NUM_MATCHES) for pair in pairs]
    return matches[0], float(np.mean([one.accuracy for one in matches]))


def plot_curves(work_dir: str, path: str) -> None:
    """Draw losses, k-NN accuracy and signs of collapse over the epochs."""
    with atomic_file(path) as part:
        draw_runs({'training': read_run(work_dir)}).savefig(part)


def main() -> None:
    """Train, evaluate, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', nargs='?', default=CONFIG, help='config to train')
    add_run_options(parser)
    args = parser.parse_args()
    check_matplotlib()
    cfg = load_run_config(args)
    check_output_folder(cfg.work_dir)
    loader_cfgs = find_loaders(cfg, args.config)
    prepare_launch(cfg, 'none')
    runner = build_runner(cfg)
    model = runner.model
    loaders = [build_eval_loader(loader) for loader in loader_cfgs]
    pairs = list(open_pairs(PHOTOS, SIZE))
    untrained = copy.deepcopy(model)
    with torch.random.fork_rng():
        untrained.init_weights()
    untrained.eval()
    accuracy = {
        'raw pixels': knn_top1(untrained, loaders, raw=True),
        'random weights': knn_top1(untrained, loaders),
    }
    # For the learning curves, also for those that are drawn later.
    runner.visualizer.add_scalars(
        {f'{BASELINE}{name}': value for name, value in accuracy.items()}, step=0
    )
    before, share_before = correspondence(untrained, pairs)
    runner.train()
    model.eval()
    accuracy['trained teacher'] = knn_top1(model, loaders)
    after, share_after = correspondence(model, pairs)

    curves = osp.join(cfg.work_dir, 'learning_curve.png')
    picture = osp.join(cfg.work_dir, 'correspondence.png')
    plot_curves(cfg.work_dir, curves)
    rows = [('random weights', before), ('trained teacher', after)]
    with atomic_file(picture) as part:
        plot_correspondence(part, pairs[0], rows)
    print('\n20-NN top-1 accuracy on test crops of 16 photographs')
    for name, value in accuracy.items():
        print(f'  {name:<16} {value:6.2f} %')
    print(f'Matched regions at the mirrored place, over {len(PHOTOS)} photographs')
    print(f'  random weights   {share_before:6.2f} %')
    print(f'  trained teacher  {share_after:6.2f} %')
    print(f'Learning curve:       {curves}\nRegion correspondence: {picture}')
    print(f'Checkpoints and logs: {cfg.work_dir}')
