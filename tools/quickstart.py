"""Pre-train a small EsViT on embedded photographs, and look at what it learnt.

Prints the k-NN accuracy on raw pixels, with random weights and with the trained
teacher, and draws the learning curve and region correspondences.
"""

import argparse
import copy
import os.path as osp

import numpy as np
import torch

from esvit_plugin.engine.checkpoints import atomic_file
from esvit_plugin.engine.cli import check_output_folder, run_tool
from esvit_plugin.engine.configs import drop_late_schedules, load_config
from esvit_plugin.engine.hooks.knn_monitor_hook import build_eval_loader
from esvit_plugin.engine.launch import build_runner
from esvit_plugin.engine.options import add_run_options, set_work_dir
from esvit_plugin.evaluation import (
    knn_accuracy,
    match_regions,
    mirrored_copy,
    region_map,
)
from esvit_plugin.evaluation.images import open_images
from esvit_plugin.models import EsViT
from esvit_plugin.visualization import draw_curves, plot_correspondence, read_scalars
from esvit_plugin.visualization.figures import check_matplotlib

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
CONFIG = osp.join(ROOT, 'configs', 'demo', 'esvit_swin_photos.py')
PHOTOS = ('astronaut', 'chelsea', 'coffee', 'motorcycle_left', 'china', 'flower')
NUM_MATCHES = 10
# Whole windows in every stage of the demo's backbone.
SIZE = 256


def knn_top1(model: EsViT, loaders: list, raw: bool = False) -> float:
    """20-NN top-1 accuracy in percent of the teacher, or of raw pixels."""
    extract = (lambda images: images.flatten(1)) if raw else None
    return knn_accuracy(model, loaders, ks=[20], extract=extract)[20][0]


def view_pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """Photographs, and the mirrored, jittered and grey copy of each."""
    return [
        (image, mirrored_copy(image, np.random.default_rng([0, number])))
        for number, (_, image) in enumerate(open_images(PHOTOS, SIZE))
    ]


def correspondence(model: EsViT) -> tuple[torch.Tensor, float]:
    """Matches on the first photograph, and the mean accuracy over all."""
    found = []
    for views in view_pairs():
        source, target = (region_map(model, view) for view in views)
        found.append(match_regions(source, target, NUM_MATCHES))
    return found[0].pairs, float(np.mean([matches.accuracy for matches in found]))


def plot_curves(work_dir: str, path: str) -> None:
    """Draw losses, k-NN accuracy and signs of collapse over the iterations."""
    scalars = read_scalars(work_dir)
    panels = {
        'loss (weighted)': ('loss_view', 'loss_region'),
        'k-NN top-1, %': ('knn/top1_k20',),
        'teacher entropy, nats': ('teacher_entropy',),
        'feature spread': ('feature_spread',),
    }
    curves = {
        title: {key: scalars[key] for key in keys if key in scalars}
        for title, keys in panels.items()
    }
    with atomic_file(path) as part:
        draw_curves(curves, x_label='iteration').savefig(part)


def main() -> None:
    """Train, evaluate, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', nargs='?', default=CONFIG, help='config to train')
    add_run_options(parser)
    args = parser.parse_args()
    check_matplotlib()
    cfg = load_config(args.config, args.cfg_options)
    drop_late_schedules(cfg)
    set_work_dir(cfg, args)
    check_output_folder(cfg.work_dir)
    hooks = [h for h in cfg.get('custom_hooks', []) if h['type'] == 'KNNMonitorHook']
    if not hooks:
        raise ValueError(
            f'{args.config} has no KNNMonitorHook in custom_hooks, which says what '
            'images to classify.'
        )
    hook = hooks[0]
    runner = build_runner(cfg)
    model = runner.model
    loaders = [
        build_eval_loader(hook[key]) for key in ('train_dataloader', 'val_dataloader')
    ]
    untrained = copy.deepcopy(model)
    with torch.random.fork_rng():
        untrained.init_weights()
    untrained.eval()
    accuracy = {
        'raw pixels': knn_top1(untrained, loaders, raw=True),
        'random weights': knn_top1(untrained, loaders),
    }
    before, share_before = correspondence(untrained)
    runner.train()
    model.eval()
    accuracy['trained teacher'] = knn_top1(model, loaders)
    after, share_after = correspondence(model)

    curves = osp.join(cfg.work_dir, 'learning_curve.png')
    picture = osp.join(cfg.work_dir, 'correspondence.png')
    plot_curves(cfg.work_dir, curves)
    views = view_pairs()[0]
    with atomic_file(picture) as part:
        plot_correspondence(
            part,
            views,
            region_map(model, views[0]).shape[:2],
            [('random weights', before), ('trained teacher', after)],
        )
    print('\n20-NN top-1 accuracy on test crops of 16 photographs')
    for name, value in accuracy.items():
        print(f'  {name:<16} {value:6.2f} %')
    print(f'Matched regions at the mirrored place, over {len(PHOTOS)} photographs')
    print(f'  random weights   {share_before:6.2f} %')
    print(f'  trained teacher  {share_after:6.2f} %')
    print(f'Learning curve:       {curves}\nRegion correspondence: {picture}')
    print(f'Checkpoints and logs: {cfg.work_dir}')


if __name__ == '__main__':
    run_tool(main)
