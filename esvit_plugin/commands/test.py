"""Test a model; the options are those of mmpretrain's ``tools/test.py``."""

import argparse
import os
from typing import Any

import mmengine
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from ..apis import read_weights
from ..engine.checkpoints import atomic_file
from ..engine.class_count import fill_num_classes, hand_on
from ..engine.cli import check_output
from ..engine.configs import load_config
from ..engine.data_folders import check_data_given
from ..engine.launch import build_runner, prepare_launch
from ..engine.options import (
    add_launch_options,
    check_out_option,
    set_loader_options,
    set_work_dir,
)
from ..evaluation.dumped_config import compare_dump
from ..models.strict_loading import find_cut_off, find_misfits
from ..models.swin_names import rename_last_norms


class SaveMetricsHook(Hook):
    """Writes the metrics of a test into a JSON file.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Write them, once for all processes."""
        if metrics and runner.rank == 0:
            with atomic_file(self.path) as path:
                mmengine.dump(metrics, path)


def keep_training_config(cfg: Config) -> Config:
    """Give a test's config a name of its own where that of a training has its name.

    mmengine's Runner writes the config into the work folder, where the training's says
    what the checkpoints are of.

    Args:
        cfg: The config, with its work folder.

    Returns:
        The config, as 'test_NAME' where there is a NAME.
    """
    folder, name = os.path.split(cfg.filename)
    if not os.path.isfile(os.path.join(cfg.work_dir, name)):
        return cfg
    return Config(cfg._cfg_dict, cfg.text, os.path.join(folder, f'test_{name}'))


def check_weights(model: nn.Module, weights: dict[str, Any], checkpoint: str) -> None:
    """Refuse a checkpoint that would leave random weights in the model.

    Args:
        model: The model to test.
        weights: Those of the checkpoint.
        checkpoint: Its file.

    Raises:
        ValueError: If weights are missing or of other shapes, or the checkpoint has
            more blocks; the message names some of them.
    """
    while is_model_wrapper(model):
        model = model.get_submodule('module')
    there = {name.removeprefix('module.'): value for name, value in weights.items()}
    rename_last_norms(model, there)
    missing = [name for name, _ in model.named_parameters() if name not in there]
    remedy = 'Test it with the config that it was trained with.'
    if not missing:
        wrong = find_misfits(model, there) or find_cut_off(model, there)
        if wrong:
            raise ValueError(
                f'{checkpoint} is of another architecture than the '
                f'{type(model).__name__} of the config: it has {wrong[0]}.\n{remedy}'
            )
        return
    if any(name.startswith('teacher.') for name in there):
        remedy = (
            'It is of a pre-training: evaluate it by esvit knn, or train a linear '
            'config (configs/linear/) on it and test the result.'
        )
    # The last ones are the head's.
    raise ValueError(
        f'{checkpoint} lacks {len(missing)} weights of the {type(model).__name__}, '
        f'among them {", ".join(missing[-3:])}.\n{remedy}'
    )


def main() -> None:
    """Build the Runner of the config and test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, or its name')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', help='JSON file for the metrics')
    add_launch_options(parser)
    args = parser.parse_args()
    if args.out:
        check_out_option(parser, args.out, '.json')
        check_output(args.out, args.config, args.checkpoint)
    cfg = load_config(args.config, args.cfg_options)
    if cfg.get('test_dataloader') is None:
        raise ValueError(
            f'{args.config} has no test_dataloader. A pre-training config is evaluated '
            'by esvit knn; esvit test takes a classifier, e.g. a linear probe.'
        )
    weights = read_weights(args.checkpoint)
    cfg.load_from = args.checkpoint
    set_work_dir(cfg, args)
    set_loader_options(cfg, args)
    prepare_launch(cfg, args.launcher)
    built: dict[str, Any] = {}
    # Those to train on tell the number of classes where the config leaves it open.
    loaders = ('train_dataloader', 'test_dataloader')
    check_data_given(cfg, [cfg.get(name) for name in loaders])
    fill_num_classes(cfg, built, loaders)
    with compare_dump(cfg, args.checkpoint):
        runner = build_runner(keep_training_config(cfg))
        hand_on(runner, built)
        check_weights(runner.model, weights, args.checkpoint)
    if args.out:
        runner.register_hook(SaveMetricsHook(args.out), 'LOWEST')
    runner.test()
