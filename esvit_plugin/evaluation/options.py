"""What the command lines of the evaluations share."""

import argparse
import os

from ..engine.cli import check_output_folder
from ..engine.options import add_config_options
from .loading import CONFIG_HELP


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the model to evaluate: ``config``, ``checkpoint`` and ``student``.

    Beside these come the options of ``add_config_options``.
    """
    parser.add_argument('config', help=CONFIG_HELP)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--student',
        action='store_true',
        help="an EsViT's student; default is the teacher, as in the paper",
    )
    add_config_options(parser)


def add_picture_options(parser: argparse.ArgumentParser) -> None:
    """Add the images to look at, and where pictures of them go."""
    parser.add_argument(
        'images',
        nargs='+',
        metavar='IMAGES',
        help='files, folders, or names of bundled photographs',
    )
    parser.add_argument('-o', '--out', required=True, help='folder to write into')
    parser.add_argument(
        '--size', type=int, default=224, help='side of the images; default 224'
    )
    parser.add_argument(
        '--num-pictures', type=int, default=4, help='of the first images; default 4'
    )


def check_picture_options(
    parser: argparse.ArgumentParser, args: argparse.Namespace, **least: int
) -> None:
    """Refuse what the options of ``add_picture_options`` cannot be.

    Args:
        parser: It reports the mistake.
        args: What it read.
        **least: The least of further options.

    Raises:
        SystemExit: If a number is too small, or ``out`` is a file.
        OSError: If ``out`` cannot be made or written to.
    """
    for name, smallest in dict(size=1, num_pictures=0, **least).items():
        value = getattr(args, name)
        if value < smallest:
            option = name.replace('_', '-')
            parser.error(f'--{option} must be >= {smallest}: {value}')
    if os.path.isfile(args.out):
        parser.error(f'--out must be a folder, not a file: {args.out}')
    check_output_folder(args.out)
