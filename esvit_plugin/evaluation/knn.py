"""Weighted k-nearest-neighbour classification of features."""

import logging
import os
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import get_world_size, is_main_process
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import DataLoader

from ..engine.class_count import check_datasets
from ..models import EsViT
from ..models.checks import check_temperatures
from ..models.view_and_regions import take_view
from ..type_names import type_name
from .extraction import extract_shard
from .nearest import count_hits, nearest
from .sharded_knn import count_sharded_hits


@torch.no_grad()
def weighted_knn(
    train_feats: Tensor,
    train_labels: Tensor,
    test_feats: Tensor,
    test_labels: Tensor,
    ks: Sequence[int] = (10, 20, 100, 200),
    temperature: float = 0.07,
    block_size: int = 1024,
    train_block_size: int = 65536,
) -> dict[int, tuple[float, float]]:
    """Classify by the votes of the k most similar training images (Section 4).

    A neighbour of cosine similarity s votes with weight exp(s / temperature) for
    its class. Of equally similar images the first ones are the neighbours. Test and
    training images are taken in blocks, so that memory beyond the features stays
    bounded by the blocks, whatever the number of images.

    Args:
        train_feats: Features (N, C); they are L2-normalised here.
        train_labels: Classes (N,), integers from 0.
        test_feats: Features (M, C).
        test_labels: Classes (M,).
        ks: Numbers of neighbours. Values above N count as N.
            Defaults to (10, 20, 100, 200).
        temperature: Temperature of the votes. Defaults to 0.07.
        block_size: Test images per block. Defaults to 1024.
        train_block_size: Training images per block. Defaults to 65536.

    Returns:
        Top-1 and top-5 accuracy in percent for each k. With fewer than 5 classes
        the second is the accuracy over all of them, 100.

    Raises:
        ValueError: If shapes do not fit, a set is empty, a label is negative, a k is
            not positive or the temperature is below 1e-4 or not finite.
    """
    _check('weighted_knn', ks, temperature)
    for name, feats, labels in (
        ('train', train_feats, train_labels),
        ('test', test_feats, test_labels),
    ):
        if feats.dim() != 2 or labels.shape != feats.shape[:1] or not len(feats):
            raise ValueError(
                f'weighted_knn: {name} features must be (N, C) and labels (N,) with '
                f'N > 0, got {tuple(feats.shape)} and {tuple(labels.shape)}.'
            )
        if labels.min() < 0:
            raise ValueError(
                f'weighted_knn: {name} labels must be classes from 0, got '
                f'{int(labels.min())} for image {int(labels.argmin())}.'
            )
    if train_feats.shape[1] != test_feats.shape[1]:
        raise ValueError(
            f'weighted_knn: train features have {train_feats.shape[1]} channels, test '
            f'features {test_feats.shape[1]}.'
        )
    num_classes = int(max(train_labels.max(), test_labels.max())) + 1
    correct = torch.zeros(len(ks), 2, dtype=torch.long)
    for start in range(0, len(test_feats), block_size):
        block = slice(start, start + block_size)
        similarity, rows = nearest(
            test_feats[block], train_feats, max(ks), train_block_size
        )
        correct += count_hits(
            similarity,
            train_labels[rows],
            test_labels[block],
            num_classes,
            ks,
            temperature,
        )
    return _percent(ks, correct, len(test_feats))


def _percent(
    ks: Sequence[int], correct: Tensor, number: int
) -> dict[int, tuple[float, float]]:
    top1, top5 = (100 / number * correct.double()).T.tolist()
    return dict(zip(ks, zip(top1, top5, strict=True), strict=True))


def _check(name: str, ks: Sequence[int], temperature: float) -> None:
    if not len(ks) or not all(isinstance(k, Integral) and k >= 1 for k in ks):
        raise ValueError(
            f'{name}: every k must be >= 1, got {tuple(ks)}; the usual ones are 10, '
            '20, 100 and 200.'
        )
    check_temperatures(name, temperature=temperature)


def knn_accuracy(
    model: Any,
    loaders: Sequence[DataLoader],
    ks: Sequence[int] = (10, 20, 100, 200),
    temperature: float = 0.07,
    extract: Callable[[Tensor], Tensor] | None = None,
    each_batch: Callable[[], None] | None = None,
) -> dict[int, tuple[float, float]]:
    """k-NN accuracy of a model's features on labelled data sets.

    Each process runs its share of the images, and keeps their features: only those of a
    block of test images, and lists of neighbours, are exchanged. All get the result.

    Args:
        model: See :func:`extract_features`.
        loaders: The loader of the images that vote, and that of those to classify.
        ks: Numbers of neighbours.
        temperature: Temperature of the votes.
        extract: See :func:`extract_features`.
        each_batch: Called before each batch of either loader is run. Defaults to None.

    Returns:
        Top-1 and top-5 accuracy in percent for each k.

    Raises:
        ValueError: As :func:`weighted_knn` and :func:`extract_features`; for a k, the
            temperature or different classes before any feature is extracted.
    """
    _check('knn_accuracy', ks, temperature)
    check_datasets('k-NN', *(loader.dataset for loader in loaders))
    train, test = (
        extract_shard(model, loader, extract, each_batch).to(get_device())
        for loader in loaders
    )
    number = sum(train.sizes)
    if max(ks) > number and is_main_process():
        print_log(
            f'Only {number} images vote: with a larger k all of them do.',
            logger='current',
            level=logging.WARNING,
        )
    if get_world_size() == 1:
        return weighted_knn(*train[:2], *test[:2], ks=ks, temperature=temperature)
    correct = count_sharded_hits(train, test, ks, temperature)
    return _percent(ks, correct, sum(test.sizes))


def find_loaders(cfg: Config, path: str) -> tuple[dict, dict]:
    """Find the loader of the images that vote, and that of those to classify.

    They are those of the config's ``KNNMonitorHook``, or else its variables
    ``knn_dataloader`` and ``knn_val_dataloader``.

    Args:
        cfg: The config.
        path: Its file.

    Returns:
        The configs of the two loaders.

    Raises:
        ValueError: If it does not say which images.
    """
    for hook in cfg.get('custom_hooks', []):
        if type_name(hook) == 'KNNMonitorHook':
            return hook['train_dataloader'], hook['val_dataloader']
    if cfg.get('knn_dataloader') and cfg.get('knn_val_dataloader'):
        return cfg.knn_dataloader, cfg.knn_val_dataloader
    raise ValueError(
        f'{path} does not say what images to classify: give a labelled folder with '
        '--data, or add a KNNMonitorHook with a train_dataloader and a val_dataloader '
        'to custom_hooks.'
    )


def folder_loaders(cfg: Config, path: str, folder: str) -> tuple[dict, dict]:
    """Loaders of a labelled folder, with the config's ``eval_pipeline``.

    Args:
        cfg: The config.
        path: Its file.
        folder: Has ``train/`` and ``val/`` (or ``test/``), and each of them one folder
            per class; or ``train.txt`` and ``val.txt`` (or ``test.txt``), lists of
            paths below it with a label each. ``~`` is expanded.

    Returns:
        The configs of the loaders of the images that vote, and of those to classify.

    Raises:
        ValueError: If the config has no ``eval_pipeline``, or the classes differ.
        FileNotFoundError: If the folder, or a part of it, does not exist.
    """
    if 'eval_pipeline' not in cfg:
        raise ValueError(
            f'--data: {path} has no eval_pipeline, which prepares the images of a '
            'folder; add one, e.g. that of configs/_base_/datasets.'
        )
    folder = os.path.expanduser(folder)
    train, val = (
        dict(
            batch_size=64,
            num_workers=2,
            dataset=dict(
                type='LabeledFolder',
                data_root=folder,
                **part,
                pipeline=cfg.eval_pipeline,
            ),
        )
        for part in _find_parts(folder)
    )
    return train, val


def _find_parts(folder: str) -> list[dict[str, str]]:
    """The two parts of a labelled folder, as the options of their data sets.

    Both are lists, or both are folders: they would number the classes in two ways.
    """
    parts = ('train',), ('val', 'test')
    kinds = ('ann_file', '.txt', os.path.isfile), ('data_prefix', '', os.path.isdir)
    for option, ending, is_there in kinds:
        found = [
            [n for n in part if is_there(os.path.join(folder, n + ending))]
            for part in parts
        ]
        if all(found):
            return [{option: names[0] + ending} for names in found]
    missing = parts[bool(found[0])]
    raise FileNotFoundError(
        f'--data: {folder} has no folder {" or ".join(missing)}; it needs train/CLASS/ '
        'with the images that vote, and val/CLASS/ with those to classify, or lists of '
        'them with labels, train.txt and val.txt.'
    )


def extract_view(model: Any, images: Tensor, source: str) -> Tensor:
    """Features (B, C) of whole images, of an EsViT or a method of mmpretrain.

    Args:
        model: The model.
        images: Normalised images, shape (B, 3, H, W).
        source: 'teacher' or 'student' of an EsViT.
    """
    if isinstance(model, EsViT):
        return model.extract_feat(images, source)
    return take_view(model.backbone, model.extract_feat(images))
