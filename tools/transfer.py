"""Logistic regression on frozen features of the paper's 18 data sets.

Each result is printed and written at once; data sets that are in the file already are
left out. Each set has a config in configs/transfer/, which says where its folder is;
other sets are given by their config file.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.utils import ProgressBar
from mmpretrain.registry import DATASETS
from torch import Tensor
from torch.utils.data import DataLoader

import esvit_plugin
from esvit_plugin import get_model
from esvit_plugin.engine.checkpoints import atomic_file
from esvit_plugin.engine.cli import (
    Failure,
    check_at_least,
    check_output,
    describe,
    run_tool,
)
from esvit_plugin.engine.launch import load_config
from esvit_plugin.evaluation.logistic_regression import (
    IGNORED,
    check_sklearn,
    logistic_probe,
)
from esvit_plugin.models import EsViT
from esvit_plugin.models.last_blocks import pool_last_blocks

CONFIGS = Path(esvit_plugin.__file__).resolve().parent / 'configs' / 'transfer'
SPLITS = ('train', 'val', 'test')
# In the paper's order.
NAMES = (
    'food101',
    'cifar10',
    'cifar100',
    'sun397',
    'stanford_cars',
    'fgvc_aircraft',
    'voc2007',
    'dtd',
    'oxford_pets',
    'caltech101',
    'flowers102',
    'mnist',
    'fer2013',
    'stl10',
    'gtsrb',
    'patch_camelyon',
    'ucf101',
    'hateful_memes',
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the pre-training, or its name')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--datasets',
        nargs='+',
        default=NAMES,
        metavar='NAME',
        help=f'{", ".join(NAMES)}, or config files; default: all of these',
    )
    parser.add_argument(
        '--data-root', default='data', help="folder of the sets' folders; default data"
    )
    parser.add_argument(
        '--student', action='store_true', help="the student's; default the teacher's"
    )
    parser.add_argument(
        '--features',
        choices=('pooled', 'last_blocks'),
        default='pooled',
        help='pooled last map (default) or pooled outputs of the last blocks',
    )
    parser.add_argument('--num-blocks', type=int, default=4)
    parser.add_argument('-o', '--out', default='transfer.json', help='results, *.json')
    parser.add_argument('--force', action='store_true', help='do sets again')
    parser.add_argument('--batch-size', type=int, help="default the config's, 128")
    parser.add_argument('--num-workers', type=int, help="default the config's, 8")
    args = parser.parse_args()
    for name in args.datasets:
        if name not in NAMES and not name.endswith('.py'):
            parser.error(
                f'--datasets: no data set {name!r}; give names of {", ".join(NAMES)}, '
                'or config files (*.py)'
            )
    folder = os.path.dirname(os.path.abspath(args.out))
    if not args.out.endswith('.json') or not os.path.isdir(folder):
        parser.error(f'--out must be a .json file in an existing folder: {args.out}')
    return args


def main() -> None:
    """Evaluate the data sets, one after the other."""
    args = parse_args()
    check_at_least(1, num_blocks=args.num_blocks, batch_size=args.batch_size)
    check_at_least(0, num_workers=args.num_workers)
    check_output(args.out, args.config, args.checkpoint)
    check_sklearn()
    init_default_scope('mmpretrain')
    settings = dict(
        config=args.config,
        checkpoint=args.checkpoint,
        source='student' if args.student else 'teacher',
        features=args.features,
        num_blocks=args.num_blocks if args.features == 'last_blocks' else None,
    )
    results = read_results(args.out, settings)
    cfgs = {
        name: load_data_config(name, args.data_root)
        for name in in_order(args.datasets)
        if args.force or name not in results
    }
    check_data(cfgs)
    failed = {}
    if cfgs:
        model = get_model(args.config, args.checkpoint).to(get_device())
        extract = feature_function(model, settings)
    for name, cfg in cfgs.items():
        loader = dict(cfg.loader)
        loader.update(
            (key, value)
            for key in ('batch_size', 'num_workers')
            if (value := getattr(args, key)) is not None
        )
        try:
            results[name] = evaluate(model, extract, cfg, loader)
        except Exception as error:
            # A night's run goes on with the other sets.
            failed[name] = describe(error)
            print(f'\n{cfg.name} failed: {failed[name]}', flush=True)
            continue
        write_results(args.out, settings, results)
        found = results[name]
        print(
            f'{cfg.name}: {cfg.metric} {found["value"]:.2f} %, C = {found["c"]:.3g}, '
            f'{found["seconds"]:.0f} s',
            flush=True,
        )
    print('\n' + table(results))
    if failed:
        reasons = ', '.join(f'{name} ({why})' for name, why in failed.items())
        raise Failure(
            f'{len(failed)} of {len(cfgs)} data sets failed; the others are in '
            f'{args.out}, and are left out when this is run again:\n'
            + ' '.join(reasons.split())
        )


def in_order(names: Iterable[str]) -> list[str]:
    """The paper's sets in its order, then the config files of others."""
    names = list(dict.fromkeys(names))
    return sorted(names, key=lambda n: NAMES.index(n) if n in NAMES else len(NAMES))


def config_path(name: str) -> str:
    """The config file of a data set."""
    return name if name.endswith('.py') else str(CONFIGS / f'{name}.py')


def load_data_config(name: str, data_root: str) -> Config:
    """The config of a data set; if it has a folder, below another one of data sets."""
    cfg = load_config(config_path(name))
    if 'data_root' not in cfg:
        return cfg
    folder = os.path.basename(cfg.data_root)
    root = os.path.join(os.path.expanduser(data_root), folder)
    return load_config(config_path(name), dict(data_root=root))


def check_data(cfgs: dict[str, Config]) -> None:
    """Refuse data sets that are not there, before anything runs.

    Raises:
        FileNotFoundError: If folders are missing or empty; the message names all.
    """
    missing = [
        f'{name}: {cfg.data_root}'
        for name, cfg in cfgs.items()
        if 'data_root' in cfg
        and (not os.path.isdir(cfg.data_root) or not os.listdir(cfg.data_root))
    ]
    if missing:
        raise FileNotFoundError(
            'These data folders do not exist or are empty: '
            + ', '.join(missing)
            + '. Name the folder that they are in with --data-root, or the data sets '
            'that there are with --datasets.'
        )
    for cfg in cfgs.values():
        for split in SPLITS:
            # Without reading: it only looks whether all is there.
            whole = cfg[split].get('dataset', cfg[split])
            DATASETS.build({**whole, 'lazy_init': True})


def feature_function(model: Any, settings: dict) -> Callable[[Tensor], Tensor]:
    """The function from images (B, 3, H, W) to features (B, C)."""
    if not isinstance(model, EsViT):
        raise ValueError(
            f'{settings["config"]} is of a {type(model).__name__}; pass the config of '
            'a pre-training, an EsViT.'
        )
    source = settings['source']
    if settings['features'] == 'pooled':
        return lambda images: model.extract_feat(images, source)
    backbone = model.get_backbone(source)
    return lambda images: pool_last_blocks(backbone, images, settings['num_blocks'])


def evaluate(
    model: Any,
    extract: Callable[[Tensor], Tensor],
    cfg: Config,
    loader: dict[str, Any],
) -> dict[str, Any]:
    """Extract the features of a data set, and probe them."""
    start = time.time()
    # All lists are read first: a mistake in the last should not cost an hour.
    datasets = [DATASETS.build(cfg[split]) for split in SPLITS]
    labels = [read_labels(dataset, cfg) for dataset in datasets]
    feats = []
    for split, dataset in zip(SPLITS, datasets, strict=True):
        print(f'{cfg.name}, {split}: {len(dataset)} images', flush=True)
        feats.append(extract_all(model, extract, dataset, loader))
        print()
    print(f'{cfg.name}: fitting, which may take minutes', flush=True)
    found = logistic_probe(
        feats[0],
        labels[0],
        feats[1],
        labels[1],
        feats[2],
        labels[2],
        metric=cfg.metric,
    )
    return dict(
        value=found.value,
        metric=cfg.metric,
        c=found.best_c,
        sweep={f'{c:.3g}': value for c, value in found.sweep.items()},
        images=[len(dataset) for dataset in datasets],
        seconds=time.time() - start,
    )


@torch.no_grad()
def extract_all(
    model: Any, extract: Callable[[Tensor], Tensor], dataset: Any, loader: dict
) -> np.ndarray:
    """Features (N, C) of a data set, in its order."""
    bar = ProgressBar(len(dataset))
    feats = []
    for batch in DataLoader(dataset, collate_fn=default_collate, **loader):
        images = model.data_preprocessor(batch, False)['inputs']
        feats.append(extract(images).float().cpu().numpy())
        bar.update(len(images))
    return np.concatenate(feats)


def read_labels(dataset: Any, cfg: Config) -> np.ndarray:
    """Labels (N,), or (N, K) with -1 for difficult objects where there are several.

    Raises:
        ValueError: If a label is no class of the data set.
    """
    if cfg.metric != 'map11':
        labels = np.asarray(dataset.get_gt_labels(), np.int64)
        wrong = (labels < 0) | (labels >= cfg.num_classes)
        if wrong.any():
            raise ValueError(
                f'{cfg.name}: image {wrong.argmax()} has the label '
                f'{labels[wrong.argmax()]}, but there are {cfg.num_classes} classes; '
                'fetch the labels again.'
            )
        return labels
    labels = np.zeros((len(dataset), cfg.num_classes), np.int64)
    for row, label in enumerate(labels):
        record = dataset.get_data_info(row)
        label[record.get('gt_label_difficult') or []] = IGNORED
        label[record['gt_label']] = 1
    return labels


def read_results(path: str, settings: dict) -> dict[str, Any]:
    """Results of earlier runs with the same settings.

    Raises:
        ValueError: If the file is of other settings, or is no file of results.
    """
    if not os.path.isfile(path):
        return {}
    with open(path, encoding='utf-8') as file:
        try:
            content = json.load(file)
            found, results = content['settings'], content['results']
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{path} is no file of results of this tool; name another with --out.'
            ) from error
    if found != settings:
        raise ValueError(
            f'{path} has results of {found}, not of {settings}; name another file '
            'with --out.'
        )
    return results


def write_results(path: str, settings: dict, results: dict[str, Any]) -> None:
    """Write all results; an interruption leaves the old file whole."""
    with atomic_file(path) as part, open(part, 'w', encoding='utf-8') as file:
        json.dump(dict(settings=settings, results=results), file, indent=2)


def table(results: dict[str, Any]) -> str:
    """A Markdown table in the paper's order, and the mean over the paper's sets."""
    lines = ['| data set | metric | % |', '|---|---|---|']
    for name in in_order(results):
        title = load_config(config_path(name)).name
        found = results[name]
        lines.append(f'| {title} | {found["metric"]} | {found["value"]:.2f} |')
    done = [name for name in NAMES if name in results]
    if done:
        mean = np.mean([results[name]['value'] for name in done])
        lines.append(f'| mean of {len(done)} of {len(NAMES)} | | {mean:.2f} |')
    return '\n'.join(lines)


if __name__ == '__main__':
    run_tool(main)
