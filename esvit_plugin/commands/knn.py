"""Weighted k-NN accuracy of a pre-trained checkpoint.

The images come from the config's KNNMonitorHook: those of ``train_dataloader`` vote,
those of ``val_dataloader`` are classified; without that hook from its variables
``knn_dataloader`` and ``knn_val_dataloader``. A config may also have ``load_from``, the
checkpoint, and ``knn=dict(k=(10, 20), temperature=0.07)``; the command line goes first.

On 8 GPUs: torchrun --nproc-per-node 8 tools/knn.py CONFIG CHECKPOINT --launcher pytorch
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.registry import init_default_scope

from .. import get_model
from ..datasets.loaders import build_eval_loader
from ..engine.config_checks import check_knn, dicts
from ..engine.configs import config_path, load_config
from ..engine.data_folders import check_data_roots
from ..engine.launch import joined_processes
from ..engine.options import add_config_options, add_launcher_option
from ..evaluation.dumped_config import compare_dump
from ..evaluation.knn import extract_view, find_loaders, folder_loaders, knn_accuracy
from ..evaluation.loading import network_of


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the pre-training, or of configs/knn')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help="checkpoint file; default is the config's load_from",
    )
    parser.add_argument(
        '--data',
        metavar='FOLDER',
        help='a labelled folder, train/CLASS/ and val/CLASS/, instead of the '
        "config's images",
    )
    parser.add_argument(
        '--student',
        action='store_true',
        help="evaluate EsViT's student; default is the teacher, as in the paper",
    )
    parser.add_argument(
        '--k', type=int, nargs='+', help='neighbours; default 10 20 100 200'
    )
    parser.add_argument(
        '--temperature', type=float, help='temperature of the votes; default 0.07'
    )
    add_launcher_option(parser)
    add_config_options(parser)
    return parser.parse_args()


def merge_args(cfg: Config, args: argparse.Namespace) -> None:
    """Take from the config what the command line does not say.

    Args:
        cfg: The config.
        args: The command line; ``checkpoint``, ``k`` and ``temperature`` are filled.

    Raises:
        ValueError: If neither has a checkpoint, ``knn`` has an unknown key, or a value
            makes no sense.
    """
    args.checkpoint = args.checkpoint or cfg.get('load_from')
    if args.checkpoint is None:
        raise ValueError(
            f'{args.config} has no load_from: give the checkpoint to evaluate after '
            'the config.'
        )
    settings = dict(k=(10, 20, 100, 200), temperature=0.07)
    unknown = set(cfg.get('knn', {})) - set(settings)
    if unknown:
        raise ValueError(
            f'knn of {args.config} has k and temperature, not {sorted(unknown)}.'
        )
    settings.update(cfg.get('knn', {}))
    ks = args.k or settings['k']
    args.k = [ks] if isinstance(ks, int) else ks
    if args.temperature is None:
        args.temperature = settings['temperature']
    check_knn(args.k, args.temperature)


def check_folder_option(
    cfg: Config, options: Mapping[str, Any] | None, loaders: Sequence[dict]
) -> None:
    """Refuse ``--cfg-options data_root=...`` that does not reach the images.

    In a config of a pre-training on another data set it is the folder of that one.

    Args:
        cfg: The config, with the options.
        options: They, by dotted name.
        loaders: Configs of the loaders of the images, parts of the config.

    Raises:
        ValueError: If so; the message has the options to take instead.
    """
    given = [name for name in options or {} if name.split('.')[-1] == 'data_root']
    roots = [n['data_root'] for _, n in dicts(loaders) if n.get('data_root')]
    if given != ['data_root'] or not roots or cfg.data_root in roots:
        return
    places = [
        f'{path}.dataset.data_root=...'
        for path, node in dicts(cfg._cfg_dict)
        if any(node is loader for loader in loaders)
    ]
    raise ValueError(
        '--cfg-options data_root: in this config it is not the folder of the k-NN '
        f'images ({", ".join(dict.fromkeys(roots))}). Set '
        f'{" and ".join(places)}, or give a labelled folder with --data.'
    )


def main() -> None:
    """Extract the features of both sets and classify."""
    args = parse_args()
    args.config = config_path(args.config)
    cfg = load_config(args.config, args.cfg_options)
    merge_args(cfg, args)
    network_of(cfg, args.student)  # a student that there is not is refused
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    if args.data is None:
        loaders = find_loaders(cfg, args.config)
        check_folder_option(cfg, args.cfg_options, loaders)
        check_data_roots(cfg, loaders)
    else:
        loaders = folder_loaders(cfg, args.config, args.data)
    with joined_processes(cfg, args.launcher):
        evaluate(cfg, args, loaders)


def evaluate(cfg: Config, args: argparse.Namespace, loaders: Sequence[dict]) -> None:
    """Load the model, classify and, in the main process, print the accuracies.

    Args:
        cfg: The config.
        args: The command line, filled by ``merge_args``.
        loaders: Configs of the loaders of the images that vote, and that are
            classified.
    """
    with compare_dump(cfg, args.checkpoint):
        model = get_model(cfg, args.checkpoint).to(get_device())
    source = 'student' if args.student else 'teacher'
    if is_main_process():
        evaluated = network_of(cfg, args.student)
        print(f'Extracting the features of the {evaluated}')
    results = knn_accuracy(
        model,
        [build_eval_loader(loader) for loader in loaders],
        ks=args.k,
        temperature=args.temperature,
        extract=lambda images: extract_view(model, images, source),
    )
    if is_main_process():
        for k, (top1, top5) in results.items():
            print(f'k={k:<4} top-1 {top1:6.2f} %  top-5 {top5:6.2f} %')
