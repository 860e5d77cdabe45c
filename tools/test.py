"""Test a model; the options are those of mmpretrain's ``tools/test.py``."""

import argparse
import os.path as osp

import mmengine
from mmengine.hooks import Hook
from mmengine.runner import Runner

from esvit_plugin.engine.launch import (
    add_launch_options,
    load_config,
    prepare_launch,
    set_work_dir,
)


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
            mmengine.dump(metrics, self.path)


def main() -> None:
    """Build the Runner of the config and test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', help='JSON file for the metrics')
    add_launch_options(parser)
    args = parser.parse_args()
    cfg = load_config(args.config, args.cfg_options)
    if cfg.get('test_dataloader') is None:
        raise ValueError(
            f'{args.config} has no test_dataloader. A pre-training config is evaluated '
            'by tools/knn.py; tools/test.py takes a classifier, e.g. a linear probe.'
        )
    if not osp.isfile(args.checkpoint):
        raise FileNotFoundError(f'There is no checkpoint {args.checkpoint}.')
    cfg.load_from = args.checkpoint
    set_work_dir(cfg, args)
    prepare_launch(cfg, args.launcher)
    runner = Runner.from_cfg(cfg)
    if args.out:
        runner.register_hook(SaveMetricsHook(args.out), 'LOWEST')
    runner.test()


if __name__ == '__main__':
    main()
