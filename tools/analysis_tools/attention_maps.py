"""Where the heads of the last block look, drawn over images.

For EsViTSwin, ViL, CvT and VisionTransformer. IMAGES are files, folders, or names of
bundled photographs, such as astronaut. Writes one picture per image: a line for each
query, on it the query's position, the mean over the heads, and every head.
"""

import argparse
import os
from pathlib import Path

from mmengine.device import get_device

from esvit_plugin import get_model
from esvit_plugin.engine.checkpoints import atomic_file
from esvit_plugin.engine.cli import check_output_folder, run_tool
from esvit_plugin.evaluation import draw_attention, last_attention
from esvit_plugin.evaluation.attention import Query
from esvit_plugin.evaluation.figures import check_matplotlib
from esvit_plugin.evaluation.images import check_esvit, model_inputs, open_images


def query(text: str) -> Query:
    """A query of the command line."""
    if text == 'cls':
        return text
    try:
        row, col = text.split(',')
        return int(row), int(col)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'a query is ROW,COL, e.g. 3,3, or cls: {text!r}'
        ) from None


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the pre-training, or its name')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('images', nargs='+', metavar='IMAGES')
    parser.add_argument('-o', '--out', required=True, help='folder to write into')
    parser.add_argument(
        '--queries',
        nargs='+',
        type=query,
        help='ROW,COL in positions of the last map, from 0,0 in the upper left, or cls '
        'for the class token; default: five positions, and cls if there is one',
    )
    parser.add_argument(
        '--student', action='store_true', help="the student's; default the teacher's"
    )
    parser.add_argument(
        '--size', type=int, default=224, help='side of the images; default 224'
    )
    args = parser.parse_args()
    if args.size < 1:
        parser.error(f'--size must be >= 1: {args.size}')
    if os.path.isfile(args.out):
        parser.error(f'--out must be a folder, not a file: {args.out}')
    return args


def main() -> None:
    """Draw every image."""
    args = parse_args()
    check_output_folder(args.out)
    check_matplotlib()
    images = open_images(args.images, args.size)
    model = get_model(args.config, args.checkpoint)
    check_esvit(model)
    model.to(get_device())
    backbone = model.get_backbone('student' if args.student else 'teacher')
    for number, (path, image) in enumerate(images):
        attention = last_attention(backbone, model_inputs(model, image))
        queries = args.queries or attention.default_queries()
        figure = draw_attention(image, attention, queries)
        os.makedirs(args.out, exist_ok=True)
        out = os.path.join(args.out, f'attention_{number}_{Path(path).stem}.png')
        with atomic_file(out) as part:
            figure.savefig(part)
        height, width = attention.grid
        print(f'{out}: {height}x{width} positions, {len(queries)} queries')


if __name__ == '__main__':
    run_tool(main)
