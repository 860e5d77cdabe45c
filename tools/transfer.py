r"""Logistic regression on frozen features of the paper's 18 data sets.

Each result is printed and written at once; data sets that are in the file already are
left out. Each set has a config in configs/transfer/, which says where its folder is;
other sets are given by their config file. With --against a second model, such as a
supervised one, is evaluated beside it, and the table has both:

    python tools/transfer.py esvit_swin_t epoch_300.pth \
        --against supervised_swin_t swin_tiny_patch4_window7_224-160bb0a5.pth
"""

import argparse
import os
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope

from esvit_plugin import load_backbone
from esvit_plugin.engine.cli import (
    Failure,
    check_at_least,
    check_output,
    describe,
    run_tool,
)
from esvit_plugin.evaluation.frozen import FEATURES
from esvit_plugin.evaluation.loading import network_of
from esvit_plugin.evaluation.logistic_regression import check_sklearn
from esvit_plugin.evaluation.options import add_model_options
from esvit_plugin.evaluation.transfer import (
    NAMES,
    check_data,
    evaluate,
    in_order,
    load_data_config,
)
from esvit_plugin.evaluation.transfer_results import (
    Column,
    labels,
    read_columns,
    table,
    write_columns,
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_options(parser)
    parser.add_argument(
        '--against',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='a model to compare with, given in the same ways; of an EsViT the teacher',
    )
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
        '--features',
        choices=FEATURES,
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


def model_settings(args: argparse.Namespace) -> list[dict[str, Any]]:
    """What decides the results of each model."""
    models = [(args.config, args.checkpoint, network_of(args.config, args.student))]
    if args.against:
        models.append((*args.against, network_of(args.against[0])))
    if len(models) > 1 and models[0] == models[1]:
        raise ValueError(f'--against is the model itself: {args.config}.')
    return [
        dict(
            config=config,
            checkpoint=checkpoint,
            source=source,
            features=args.features,
            num_blocks=args.num_blocks if args.features == 'last_blocks' else None,
        )
        for config, checkpoint, source in models
    ]


class Evaluator:
    """One of the models, loaded when it is first needed.

    Args:
        settings: Of ``model_settings``.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.model = load_backbone(
            settings['config'], settings['checkpoint'], settings['source'] == 'student'
        ).to(get_device())
        self.extract = self.model.feature_function(
            settings['features'], settings['num_blocks'] or 1
        )

    def __call__(self, cfg: Config, args: argparse.Namespace) -> dict[str, Any]:
        """Evaluate a data set."""
        loader = dict(cfg.loader)
        for key in ('batch_size', 'num_workers'):
            if getattr(args, key) is not None:
                loader[key] = getattr(args, key)
        return evaluate(self.model, self.extract, cfg, loader)


def run_all(
    columns: list[Column],
    stored: list[Column],
    cfgs: dict[str, Config],
    args: argparse.Namespace,
) -> dict[str, str]:
    """Evaluate what is missing, data set by data set, and write each result.

    Args:
        columns: The models to evaluate; their results are filled.
        stored: What is written, these columns among it.
        cfgs: The data sets.
        args: The command line.

    Returns:
        Why data sets failed, by their name.
    """
    todo = {
        name: [c for c in columns if args.force or name not in c['results']]
        for name in cfgs
    }
    needed = {id(column): column for found in todo.values() for column in found}
    evaluators = {key: Evaluator(one['settings']) for key, one in needed.items()}
    titles = dict(zip(map(id, columns), labels(columns), strict=True))
    failed = {}
    for name, cfg in cfgs.items():
        for column in todo[name]:
            try:
                found = evaluators[id(column)](cfg, args)
            except Exception as error:
                # A night's run goes on with the other sets.
                failed[name] = describe(error)
                print(f'\n{cfg.name} failed: {failed[name]}', flush=True)
                break
            column['results'][name] = found
            write_columns(args.out, stored)
            of = f', {titles[id(column)]}' if len(columns) > 1 else ''
            print(
                f'{cfg.name}{of}: {cfg.metric} {found["value"]:.2f} %, '
                f'C = {found["c"]:.3g}, {found["seconds"]:.0f} s',
                flush=True,
            )
    return failed


def main() -> None:
    """Evaluate the data sets, one after the other."""
    args = parse_args()
    check_at_least(1, num_blocks=args.num_blocks, batch_size=args.batch_size)
    check_at_least(0, num_workers=args.num_workers)
    check_output(args.out, args.config, args.checkpoint, *(args.against or ()))
    check_sklearn()
    init_default_scope('mmpretrain')
    settings = model_settings(args)
    stored = read_columns(args.out, settings)
    columns = stored[: len(settings)]
    cfgs = {
        name: load_data_config(name, args.data_root)
        for name in in_order(args.datasets)
        if args.force or any(name not in column['results'] for column in columns)
    }
    check_data(cfgs)
    failed = run_all(columns, stored, cfgs, args)
    print('\n' + table(columns))
    if failed:
        reasons = ', '.join(f'{name} ({why})' for name, why in failed.items())
        raise Failure(
            f'{len(failed)} of {len(cfgs)} data sets failed; the others are in '
            f'{args.out}, and are left out when this is run again:\n'
            + ' '.join(reasons.split())
        )


if __name__ == '__main__':
    run_tool(main)
