"""Pre-train a small EsViT on embedded photographs, and look at what it learnt.

Prints the k-NN accuracy on raw pixels, with random weights and with the trained
teacher, and draws the learning curves and the nearest neighbours of unseen crops
before and after the training.
"""

import argparse
import copy
import math
import os.path as osp
import time
from typing import Any, NamedTuple

import torch
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from ..datasets.loaders import build_eval_loader
from ..engine.checkpoints import atomic_file
from ..engine.cli import check_output_folder
from ..engine.launch import build_runner, prepare_launch
from ..engine.options import add_run_options, load_run_config
from ..evaluation.extraction import extract_features
from ..evaluation.knn import find_loaders, weighted_knn
from ..evaluation.nearest import nearest
from ..models import EsViT
from ..visualization import draw_runs, read_run
from ..visualization.figures import check_matplotlib
from ..visualization.logs import BASELINE
from ..visualization.neighbours import draw_retrievals

CONFIG = 'esvit_swin_photos'
NUM_NEIGHBOURS = 4
NUM_QUERIES = 8
RAW, RANDOM, TRAINED = 'raw pixels', 'random weights', 'trained teacher'


class Features(NamedTuple):
    """Features of the crops that vote and of those to classify.

    Args:
        train: Shape (N, C).
        train_labels: Photographs of the crops (N,).
        test: Shape (M, C).
        test_labels: Photographs of the crops (M,).
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor

    @classmethod
    def of(
        cls, model: EsViT, loaders: list[DataLoader], raw: bool = False
    ) -> 'Features':
        """Of the teacher, or raw pixels."""
        extract = (lambda images: images.flatten(1)) if raw else None
        train, test = (extract_features(model, one, extract) for one in loaders)
        return cls(*train, *test)

    def top1(self) -> float:
        """20-NN top-1 accuracy in percent."""
        return weighted_knn(*self, ks=[20])[20][0]

    def neighbours(self) -> Tensor:
        """The crops that vote which are nearest to each to classify, (M, 4)."""
        return nearest(self.test, self.train, NUM_NEIGHBOURS, len(self.train))[1]

    def share_of_right(self) -> float:
        """How many of these are of the same photograph, in percent."""
        labels = self.train_labels[self.neighbours()]
        return float((labels == self.test_labels[:, None]).float().mean() * 100)


def plot_curves(work_dir: str, path: str) -> None:
    """Draw losses, k-NN accuracy and signs of collapse over the epochs."""
    with atomic_file(path) as part:
        draw_runs({'training': read_run(work_dir)}).savefig(part)


def plot_neighbours(
    found: dict[str, Features], loaders: list[DataLoader], path: str
) -> None:
    """Draw unseen crops of several photographs with their nearest crops.

    Args:
        found: Features by name, of one order of the crops.
        loaders: Of the crops that vote, and of those to classify.
        path: The picture to write.
    """
    train, test = (loader.dataset for loader in loaders)
    labels = next(iter(found.values())).test_labels
    # The first crop of photographs that are evenly spread.
    photos = labels.unique()
    picked = photos[:: max(1, len(photos) // NUM_QUERIES)][:NUM_QUERIES]
    queries = [int((labels == photo).nonzero()[0]) for photo in picked]
    rows = {}
    for name, features in found.items():
        nearest_crops = features.neighbours()[queries].tolist()
        rows[name] = [
            [(_rgb(train[i]), bool(features.train_labels[i] == photo)) for i in row]
            for photo, row in zip(picked, nearest_crops, strict=True)
        ]
    figure = draw_retrievals([_rgb(test[query]) for query in queries], rows)
    with atomic_file(path) as part:
        figure.savefig(part)


def _rgb(packed: dict[str, Any]) -> Tensor:
    """The BGR image of a packed sample as RGB of shape (H, W, 3)."""
    return packed['inputs'].flip(0).permute(1, 2, 0)


def losses(runner: Runner) -> dict[str, tuple[float, float, float]]:
    """First and last value of each loss by task, and ln K, in nats."""
    model = runner.model
    found = {}
    for task, head, weight in (
        ('view', model.head, 1 - model.region_weight),
        ('region', model.region_head, model.region_weight),
    ):
        scalars = runner.message_hub.log_scalars.get(f'train/loss_{task}')
        if scalars is not None and weight:
            values = scalars.data[0] / weight
            last = values[-max(1, len(values) // 20) :].mean()
            found[task] = float(values[0]), float(last), math.log(head.out_channels)
    return found


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
    untrained = copy.deepcopy(model)
    with torch.random.fork_rng():
        untrained.init_weights()
    untrained.eval()
    found = {
        RAW: Features.of(untrained, loaders, raw=True),
        RANDOM: Features.of(untrained, loaders),
    }
    accuracy = {name: features.top1() for name, features in found.items()}
    # For the learning curves, also for those that are drawn later.
    runner.visualizer.add_scalars(
        {f'{BASELINE}{name}': value for name, value in accuracy.items()}, step=0
    )
    start = time.monotonic()
    runner.train()
    minutes = (time.monotonic() - start) / 60
    model.eval()
    found[TRAINED] = Features.of(model, loaders)
    accuracy[TRAINED] = found[TRAINED].top1()

    curves = osp.join(cfg.work_dir, 'learning_curve.png')
    picture = osp.join(cfg.work_dir, 'neighbours.png')
    plot_curves(cfg.work_dir, curves)
    pair = {name: found[name] for name in (RANDOM, TRAINED)}
    plot_neighbours(pair, loaders, picture)
    num_classes = len(found[RAW].test_labels.unique())
    print(
        f'\nTrained without labels for {minutes:.1f} minutes. On crops of other parts:'
    )
    print(
        f'20-NN accuracy: which of {num_classes} photographs is it? '
        f'(chance {100 / num_classes:.1f} %)'
    )
    for name, value in accuracy.items():
        print(f'  {name:<16} {value:6.2f} %')
    print(f'Of the {NUM_NEIGHBOURS} nearest crops, of the same photograph')
    for name, features in pair.items():
        print(f'  {name:<16} {features.share_of_right():6.2f} %')
    print(
        'Losses, first and last (ln K: a uniform output; a low loss alone is no proof)'
    )
    for task, (first, last, uniform) in losses(runner).items():
        print(f'  {task:<16} {first:6.2f} -> {last:.2f}   ln K = {uniform:.2f}')
    before, after = round(accuracy[RANDOM]), round(accuracy[TRAINED])
    print(
        f'In short: the same network names the photograph of {after} of 100 unseen '
        f'crops after training, of {before} before.'
    )
    print(f'Learning curves:      {curves}\nNearest neighbours:   {picture}')
    print(f'Checkpoints and logs: {cfg.work_dir}')
