"""What the command lines of the evaluations share."""

import argparse
import os

from ..engine.cli import check_output_folder
from ..engine.options import add_config_options, add_settings_option
from ..models.utils import picture_size
from .frozen import FrozenBackbone
from .loading import CONFIG_HELP

SIZE_HELP = 'side of the images; default what the backbone was made for'


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


def add_other_model_options(parser: argparse.ArgumentParser) -> None:
    """Add a second model, with the options of ``add_model_options`` for it."""
    parser.add_argument(
        'other_config', metavar='config2', help='of the other model, likewise'
    )
    parser.add_argument('other_checkpoint', metavar='checkpoint2', help='likewise')
    parser.add_argument(
        '--other-student', action='store_true', help='--student of the other model'
    )
    add_settings_option(parser, '--other-cfg-options', "the other model's config")


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add the images to look at, and where results go."""
    parser.add_argument(
        'images',
        nargs='+',
        metavar='IMAGES',
        help='files, folders, or names of bundled photographs',
    )
    parser.add_argument('-o', '--out', required=True, help='folder to write into')
    parser.add_argument('--size', type=int, help=f'{SIZE_HELP}, but at least 224')


def add_picture_options(parser: argparse.ArgumentParser) -> None:
    """Add the images to look at, and where pictures of them go."""
    add_image_options(parser)
    parser.add_argument(
        '--num-pictures', type=int, default=4, help='of the first images; default 4'
    )


def chosen_size(size: int | None, *models: FrozenBackbone) -> int:
    """The side of the images, which is printed.

    Args:
        size: That of the command line; None, what the backbones were made for, but at
            least 224: the last map of fewer pixels has hardly any regions.
        *models: The models that see them.

    Raises:
        ValueError: If none is given, and the backbones were made for different sizes.
    """
    sizes = {size or picture_size(model.backbone) for model in models}
    if len(sizes) > 1:
        raise ValueError(
            f'The backbones are for images of {sorted(sizes)} px: give one with --size.'
        )
    (side,) = sizes
    print(f'Images of {side} px' + ('' if size else '; --size is another'))
    return side


def check_picture_options(
    parser: argparse.ArgumentParser, args: argparse.Namespace, **least: int
) -> None:
    """Refuse what the options of ``add_picture_options`` cannot be.

    Arguments and errors are those of ``check_image_options``.
    """
    check_image_options(parser, args, num_pictures=0, **least)


def check_image_options(
    parser: argparse.ArgumentParser, args: argparse.Namespace, **least: int
) -> None:
    """Refuse what the options of ``add_image_options`` cannot be.

    Args:
        parser: It reports the mistake.
        args: What it read.
        **least: The least of further options.

    Raises:
        SystemExit: If a number is too small, or ``out`` is a file.
        OSError: If ``out`` cannot be made or written to.
    """
    for name, smallest in dict(size=1, **least).items():
        value = getattr(args, name)
        if value is not None and value < smallest:
            option = name.replace('_', '-')
            parser.error(f'--{option} must be >= {smallest}: {value}')
    if os.path.isfile(args.out):
        parser.error(f'--out must be a folder, not a file: {args.out}')
    check_output_folder(args.out)
