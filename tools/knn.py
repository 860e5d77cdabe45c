"""Weighted k-NN accuracy of a pre-trained checkpoint.

The images come from the config's KNNMonitorHook: those of ``train_dataloader`` vote,
those of ``val_dataloader`` are classified.
"""

import argparse

from mmengine.device import get_device
from mmengine.registry import init_default_scope

from esvit_plugin import get_model
from esvit_plugin.engine.hooks.knn_monitor_hook import build_eval_loader
from esvit_plugin.engine.launch import (
    add_config_options,
    check_data_roots,
    load_config,
)
from esvit_plugin.evaluation import knn_accuracy


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the pre-training')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--student',
        action='store_true',
        help='evaluate the student; default is the teacher, as in the paper',
    )
    parser.add_argument('--k', type=int, nargs='+', default=[10, 20, 100, 200])
    parser.add_argument('--temperature', type=float, default=0.07)
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    """Extract the features of both sets and classify."""
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    check_data_roots(cfg)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    hooks = [h for h in cfg.get('custom_hooks', []) if h['type'] == 'KNNMonitorHook']
    if not hooks:
        raise ValueError(
            f'{args.config} has no KNNMonitorHook in custom_hooks, which says what '
            'images to classify; add one with a train_dataloader and a val_dataloader.'
        )
    model = get_model(cfg, args.checkpoint).to(get_device())
    source = 'student' if args.student else 'teacher'
    print(f'Extracting the features of the {source}')
    results = knn_accuracy(
        model,
        [
            build_eval_loader(hooks[0][f'{name}_dataloader'])
            for name in ('train', 'val')
        ],
        ks=args.k,
        temperature=args.temperature,
        extract=lambda images: model.extract_feat(images, source),
    )
    for k, (top1, top5) in results.items():
        print(f'k={k:<4} top-1 {top1:6.2f} %  top-5 {top5:6.2f} %')


if __name__ == '__main__':
    main()
