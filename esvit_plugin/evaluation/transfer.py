"""Logistic regression on frozen features of other data sets (Section 4)."""

import copy
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmpretrain.registry import DATASETS
from torch import Tensor
from torch.utils.data import DataLoader

from ..datasets.whole_images import leave_out_damaged
from ..engine.class_count import check_datasets
from ..engine.config_checks import dicts
from ..engine.configs import CONFIGS, load_config
from ..engine.configs import config_path as named_config
from ..engine.variables import takes_bit_depth
from ..models.utils import image_size
from ..type_names import type_name
from .extraction import FeatureBank, names_of, run_batches, warn_of_damaged
from .frozen import FrozenBackbone
from .logistic_regression import IGNORED, logistic_probe

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


def in_order(names: Iterable[str]) -> list[str]:
    """The paper's sets in its order, then the config files of others."""
    names = list(dict.fromkeys(names))
    return sorted(names, key=lambda n: NAMES.index(n) if n in NAMES else len(NAMES))


def config_path(name: str) -> str:
    """The config file of a data set: of the paper, of any name, or a file."""
    file = CONFIGS / 'transfer' / f'{name}.py'
    return str(file) if name in NAMES else named_config(name)


def load_data_config(name: str, data_root: str) -> Config:
    """The config of a data set.

    Args:
        name: One of ``NAMES``, another config of this package, or a config file.
        data_root: Folder of the data sets' folders, in place of the config's.
    """
    cfg = load_config(config_path(name))
    if 'data_root' not in cfg:
        return cfg
    # A slash at its end is no name; an empty one is the folder itself.
    folder = os.path.basename(os.path.abspath(cfg.data_root)) if cfg.data_root else ''
    root = os.path.join(os.path.expanduser(data_root), folder)
    return load_config(config_path(name), dict(data_root=root))


def check_data(cfgs: dict[str, Config]) -> None:
    """Refuse data sets that are not there, before anything runs.

    Args:
        cfgs: The configs by name.

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


def check_sizes(cfgs: dict[str, Config], size: int | None) -> None:
    """Refuse a size for data sets whose configs decide it, before anything runs.

    Args:
        cfgs: The configs by name.
        size: What is asked for, None if nothing is.

    Raises:
        ValueError: If there are such sets; the message names them.
    """
    if size is None:
        return
    own = [name for name, cfg in cfgs.items() if not prepared_as(cfg, size, None)[1]]
    if own:
        raise ValueError(
            f'--size {size}: the configs of {", ".join(own)} have sizes of their own, '
            'which stay. Leave --size or these data sets out, or let the steps that '
            "resize and crop have the config's size."
        )


def evaluate(
    model: FrozenBackbone,
    extract: Callable[[Tensor], Tensor],
    cfg: Config,
    loader: dict[str, Any],
    size: int | None = None,
) -> dict[str, Any]:
    """Extract the features of a data set, and probe them.

    Args:
        model: The backbone, whose normalisation is used.
        extract: Function from normalised images (B, 3, H, W) to features (B, C), of
            ``model.feature_function``.
        cfg: Config of the data set.
        loader: Options of the ``DataLoader``, e.g. ``batch_size``.
        size: Side of the images in pixels, where the config leaves it open. Defaults to
            None, what the backbone was made for.

    Returns:
        ``value`` in percent of the ``metric``; the chosen ``c`` and the ``sweep`` of
        validation values; the number of ``images`` of each split; their ``size``, None
        where the config decides; ``seconds``.

    Raises:
        ValueError: If a label is no class, splits have different classes, or features
            or labels do not fit a probe.
    """
    start = time.time()
    size = size or image_size(model.backbone)
    cfg, is_sized = prepared_as(cfg, size, model.bit_depth)
    # All lists are read first: a mistake in the last should not cost an hour.
    datasets = [DATASETS.build(cfg[split]) for split in SPLITS]
    check_datasets(cfg.name, *datasets)
    if cfg.num_classes is None:
        cfg.num_classes = len(datasets[0].metainfo['classes'])
    labels = [read_labels(dataset, cfg) for dataset in datasets]
    feats = []
    for number, (split, dataset) in enumerate(zip(SPLITS, datasets, strict=True)):
        of_size = f' of {size} px' if is_sized else ''
        print(f'{cfg.name}, {split}: {len(dataset)} images{of_size}', flush=True)
        bank = FeatureBank(len(dataset))
        batches = DataLoader(dataset, collate_fn=default_collate, **loader)
        leave_out_damaged(batches)
        for batch, features in run_batches(model, batches, extract, show_progress=True):
            rows = [sample.sample_idx for sample in batch['data_samples']]
            bank.append(features=features, rows=torch.tensor(rows))
        left_out = set(range(len(dataset))) - set(bank['rows'].tolist())
        warn_of_damaged(len(left_out), len(dataset), names_of(dataset, left_out))
        feats.append(bank['features'].numpy())
        labels[number] = labels[number][bank['rows'].numpy()]
    print(f'{cfg.name}: fitting, which may take minutes', flush=True)
    train, val, test = zip(feats, labels, strict=True)
    probe = logistic_probe(*train, *val, *test, metric=cfg.metric)
    return dict(
        value=probe.value,
        metric=cfg.metric,
        c=probe.best_c,
        sweep={f'{c:.3g}': value for c, value in probe.sweep.items()},
        images=[len(part) for part in feats],
        size=size if is_sized else None,
        seconds=time.time() - start,
    )


def prepared_as(cfg: Config, size: int, bit_depth: int | None) -> tuple[Config, bool]:
    """The config of a data set with images as a model was trained on them.

    Args:
        cfg: The config. Its steps that resize and crop are changed where its ``size``
            is that of all.
        size: The side instead.
        bit_depth: Of files of 16 bits, for steps that load by OpenCV and have none.

    Returns:
        The new config, and whether a step has the size.
    """
    cfg = copy.deepcopy(cfg)
    steps = [step for _, step in dicts([cfg[split] for split in SPLITS])]
    sized = [
        (step, name)
        for step in steps
        for kind, name in (('ResizeEdge', 'scale'), ('CenterCrop', 'crop_size'))
        if type_name(step) == kind
    ]
    # One that resizes to more than it crops keeps its own sizes.
    is_sized = {step[name] for step, name in sized} == {cfg.get('size')}
    for step, name in sized if is_sized else ():
        step[name] = size
    for step in filter(takes_bit_depth, steps):
        step.setdefault('bit_depth', bit_depth)
    return cfg, is_sized


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
