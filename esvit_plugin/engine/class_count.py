"""The number of classes, taken from the images."""

import copy
from collections.abc import Mapping, Sequence
from inspect import isclass
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.datasets import CustomDataset
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.registry import DATASETS

from ..datasets.paths import printable
from ..type_names import type_name
from .config_checks import dicts, find_classes

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def build_dataset(cfg: Config, name: str) -> Any:
    """Build the data set of a loader before there is a Runner.

    Args:
        cfg: The config.
        name: Of the loader, such as 'train_dataloader'.

    Raises:
        ValueError: If the data set refuses its images by an assertion, or lacks a file.
    """
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')
    # Data sets may change the settings of what they build.
    settings = copy.deepcopy(cfg[name]['dataset'])
    try:
        dataset = DATASETS.build(settings)
        if hasattr(dataset, 'full_init'):
            dataset.full_init()
    except (AssertionError, FileNotFoundError) as error:
        # That is how mmpretrain's check their files; messages of other data sets say
        # more than the system's.
        if isinstance(error, FileNotFoundError) and error.errno is None:
            raise
        raise ValueError(
            f'{name}: {type_name(settings)} refuses its images: '
            f'{" ".join(str(error).split())}\n{_remedy(cfg)}'
        ) from error
    return dataset


def _remedy(cfg: Config) -> str:
    """Which data set takes one's own images."""
    kinds = find_classes((cfg.get('model') or {}).get('type'), 'mmpretrain')
    if any(isclass(kind) and issubclass(kind, BaseSelfSupervisor) for kind in kinds):
        return (
            'Pre-training needs no labels: in a config of your own, dataset=dict('
            "_delete_=True, type='UnlabeledFolder', data_root=..., pipeline="
            '_base_.train_pipeline) takes any folder of images.'
        )
    return 'A folder of classes of your own is a LabeledFolder.'


def hand_on(runner: Runner, built: dict[str, Any]) -> None:
    """Let a Runner take data sets that are built, as many take minutes.

    Args:
        runner: The Runner, which has built none yet.
        built: The data sets by the names of their loaders.
    """
    for name, dataset in built.items():
        loader = getattr(runner, f'_{name}')
        # A function, as mmengine copies what it is given and builds what is a dict.
        call = dict(type=lambda dataset=dataset: dataset)
        setattr(runner, f'_{name}', {**loader, 'dataset': call})


def fill_num_classes(
    cfg: Config,
    built: dict[str, Any] | None = None,
    loaders: Sequence[str] = _LOADERS,
) -> None:
    """Take from the images each ``num_classes`` of the model that is None.

    Args:
        cfg: The config; its model is completed.
        built: Data sets that are built, by the names of their loaders; those that this
            builds are added. Defaults to None.
        loaders: Those whose images are read; their classes must be the same, those of
            the first one that there is. Defaults to all three.

    Raises:
        ValueError: If the images have no classes, a label is none of them, or a metric
            wants more of them than there are.
    """
    model = cfg.get('model') or {}
    built = {} if built is None else built
    if has_open_classes(model):
        fill_classes(model, _count_classes(cfg, built, loaders))
    counts = [n['num_classes'] for n in _nodes(model)]
    counts = [count for count in counts if isinstance(count, int)]
    if counts:
        _check_topk(cfg, min(counts))
        for name, dataset in built.items():
            check_labels(name, dataset, min(counts))


def has_open_classes(model: Mapping[str, Any]) -> bool:
    """Whether the config of a model leaves a number of classes to the images."""
    return any(node['num_classes'] is None for node in _nodes(model))


def fill_classes(model: dict[str, Any], num_classes: int) -> dict[str, Any]:
    """Fill in the numbers of classes that the config of a model leaves open.

    Args:
        model: The config; it is completed.
        num_classes: The number.

    Returns:
        The config.

    Raises:
        ValueError: If the number is 0, as nobody knows it.
    """
    if not num_classes:
        raise ValueError(
            'num_classes of the model is None, to be taken from the images of a '
            'training. Give a checkpoint of that training, or a number.'
        )
    for node in _nodes(model):
        if node['num_classes'] is None:
            node['num_classes'] = num_classes
    return model


def _nodes(model: Mapping[str, Any]) -> list[dict]:
    return [node for _, node in dicts(model) if 'num_classes' in node]


def _count_classes(cfg: Config, built: dict[str, Any], loaders: Sequence[str]) -> int:
    """The number of classes of the images to train on."""
    name = next((name for name in loaders if cfg.get(name)), None)
    if name is None:
        raise ValueError(
            'num_classes of the model is None, to be taken from the images, but the '
            f'config has none of {", ".join(loaders)}: give a number.'
        )
    if name not in built:
        built[name] = build_dataset(cfg, name)
    dataset = built[name]
    classes = getattr(dataset, 'CLASSES', None)
    if classes:
        _check_loaders(cfg, name, classes, built, loaders)
        return len(classes)
    # Lists of mmpretrain have labels without names.
    records = map(dataset.get_data_info, range(len(dataset)))
    labels = [record.get('gt_label') for record in records]
    if not labels or any(not isinstance(label, int) for label in labels):
        raise ValueError(
            f'num_classes of the model is to be taken from {name}, whose '
            f'{type(dataset).__name__} has no classes: give labelled images, in one '
            'folder per class, or a number.'
        )
    return max(labels) + 1


def check_labels(name: str, dataset: Any, num_classes: int) -> None:
    """Refuse labels of folders and lists that are no class of a model.

    Some losses leave out the image without a word, others end the run on a GPU without
    saying why.

    Args:
        name: Of the loader, for the message.
        dataset: The data set. Those that are no ``CustomDataset`` of mmpretrain, or
            repeat one, are not looked at, as labels may take long to read.
        num_classes: The number of classes of the model.

    Raises:
        ValueError: If there is such a label; the message names the image.
    """
    dataset = getattr(dataset, 'dataset', dataset)
    if not isinstance(dataset, CustomDataset) or not dataset.with_label:
        return
    if not dataset.ann_file and len(dataset.CLASSES or ()) <= num_classes:
        return  # of folders
    for record in map(dataset.get_data_info, range(len(dataset))):
        label = record.get('gt_label')
        if isinstance(label, int) and not 0 <= label < num_classes:
            source = f' in {printable(dataset.ann_file)}' if dataset.ann_file else ''
            raise ValueError(
                f'{name}: the image {printable(record["img_path"])} has the label '
                f'{record["gt_label"]}{source}, but the model has {num_classes} '
                f'classes, 0 to {num_classes - 1}: mend the labels, or set num_classes '
                'of the model.'
            )


def check_same_classes(names: str, mine: Sequence[str], theirs: Sequence[str]) -> None:
    """Refuse images to validate on that number their classes in another way.

    Args:
        names: Of the two parts, for the message.
        mine: Classes of the one, in their order.
        theirs: Classes of the other.

    Raises:
        ValueError: If they differ.
    """
    if list(theirs) != list(mine):
        differing = sorted(set(theirs) ^ set(mine)) or theirs
        raise ValueError(
            f'{names} have different classes: {", ".join(map(str, differing[:5]))}. '
            'Classes are numbered by name, so give both the same folders.'
        )


def check_datasets(what: str, *datasets: Any) -> None:
    """Refuse data sets that number their classes in different ways.

    Those that name no classes, e.g. of lists with numbers, are not compared.

    Args:
        what: Who uses them, for the message.
        *datasets: The data sets.

    Raises:
        ValueError: If the names of their classes differ.
    """
    named = [
        (_place(dataset), classes)
        for dataset in datasets
        if (classes := getattr(dataset, 'metainfo', {}).get('classes'))
    ]
    for place, classes in named[1:]:
        check_same_classes(f'{what}: {named[0][0]} and {place}', named[0][1], classes)


def _place(dataset: Any) -> str:
    """The folder of a data set's images, or what it is."""
    prefix = getattr(dataset, 'data_prefix', None)
    folder = prefix.get('img_path') if isinstance(prefix, dict) else None
    return folder or type(dataset).__name__


def _check_loaders(
    cfg: Config,
    name: str,
    classes: Sequence[str],
    built: dict[str, Any],
    loaders: Sequence[str],
) -> None:
    """Compare the classes of the other loaders' images."""
    compared = [cfg[name]['dataset']]
    for other in loaders:
        # Images to test on are those to validate on, mostly.
        if not cfg.get(other) or cfg[other]['dataset'] in compared:
            continue
        compared.append(cfg[other]['dataset'])
        if other not in built:
            built[other] = build_dataset(cfg, other)
        theirs = getattr(built[other], 'CLASSES', None)
        if theirs:
            check_same_classes(f'{name} and {other}', classes, theirs)


def _check_topk(cfg: Config, num_classes: int) -> None:
    """Refuse top-5 accuracy of fewer than five classes; torch would end the run."""
    for name in ('val_evaluator', 'test_evaluator'):
        metrics = cfg.get(name) or []
        for metric in metrics if isinstance(metrics, (list, tuple)) else [metrics]:
            topk = metric.get('topk', (1,)) if isinstance(metric, dict) else (1,)
            highest = max(topk) if isinstance(topk, (list, tuple)) else topk
            if highest > num_classes:
                raise ValueError(
                    f'{name}.topk={topk} needs {highest} classes, but there are '
                    f'{num_classes}: set {name}.topk=1.'
                )
