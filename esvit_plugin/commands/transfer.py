r"""Logistic regression on frozen features of the paper's 18 data sets.

Each result is printed and written at once; data sets that are in the file already are
left out. Each set has a config in configs/transfer/, which says where its folder is;
other sets are given by their config file. With --against a second model, such as a
supervised one, is evaluated beside it, and the table has both:

    esvit transfer esvit_swin_t epoch_300.pth \
        --against supervised_swin_t swin_tiny_patch4_window7_224-160bb0a5.pth
"""

import argparse

from mmengine.registry import init_default_scope

from ..engine.cli import check_at_least, check_output
from ..engine.configs import named_configs
from ..engine.options import check_out_option
from ..evaluation.frozen import FEATURES
from ..evaluation.logistic_regression import check_sklearn
from ..evaluation.options import SIZE_HELP, add_model_options
from ..evaluation.transfer import NAMES
from ..evaluation.transfer_run import evaluate_models, model_settings


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
        help='a model to compare with, given in the same ways, which --cfg-options do '
        'not change; of an EsViT the teacher',
    )
    parser.add_argument(
        '--datasets',
        nargs='+',
        default=NAMES,
        metavar='NAME',
        help=f'{", ".join(NAMES)} (default: all of these); transfer_folder, a '
        'labelled folder of your own; or config files',
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
    parser.add_argument('--size', type=int, help=SIZE_HELP)
    parser.add_argument('-o', '--out', default='transfer.json', help='results, *.json')
    parser.add_argument('--force', action='store_true', help='do sets again')
    parser.add_argument('--batch-size', type=int, help="default the config's, 128")
    parser.add_argument('--num-workers', type=int, help="default the config's, 8")
    args = parser.parse_args()
    for name in args.datasets:
        others = [*NAMES, *named_configs()]
        if name not in others and not name.endswith('.py'):
            parser.error(
                f'--datasets: no data set {name!r}; give names of {", ".join(NAMES)}, '
                'or config files (*.py)'
            )
    check_out_option(parser, args.out, '.json')
    return args


def main() -> None:
    """Evaluate the data sets, one after the other."""
    args = parse_args()
    check_at_least(1, num_blocks=args.num_blocks, batch_size=args.batch_size)
    check_at_least(1, size=args.size)
    check_at_least(0, num_workers=args.num_workers)
    check_output(args.out, args.config, args.checkpoint, *(args.against or ()))
    check_sklearn()
    init_default_scope('mmpretrain')
    features = dict(features=args.features, num_blocks=args.num_blocks, size=args.size)
    model = (args.config, args.checkpoint, args.student)
    models = [model_settings(*model, **features, options=args.cfg_options)]
    if args.against:
        models.append(model_settings(*args.against, **features))
        if models[0] == models[1]:
            raise ValueError(f'--against is the model itself: {args.config}.')
    loader = dict(batch_size=args.batch_size, num_workers=args.num_workers)
    evaluate_models(
        models,
        args.datasets,
        args.data_root,
        args.out,
        force=args.force,
        loader={key: value for key, value in loader.items() if value is not None},
    )
