"""How similar the layers of two vision transformers are, by CKA.

For plain ViTs: mmpretrain's VisionTransformer with what derives from it, and timm's.
The features are the patch tokens after the patch embedding and after each block, of the
same images for both models; about 1000 images are enough. Writes the matrix, cka.json,
a row for each layer of the first model, and a picture of it, cka.png. The models may
differ in width and depth; a model beside itself shows how its layers change. IMAGES are
files, folders, or names of bundled photographs.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from mmengine.device import get_device

from .. import load_backbone
from ..engine.checkpoints import atomic_file
from ..evaluation.cka import LEAST_IMAGES, layer_cka
from ..evaluation.dumped_config import evaluated_config
from ..evaluation.frozen import FrozenBackbone
from ..evaluation.images import find_sources, open_images
from ..evaluation.loading import TIMM
from ..evaluation.options import (
    add_image_options,
    add_model_options,
    add_other_model_options,
    check_image_options,
    chosen_size,
)
from ..visualization import draw_cka
from ..visualization.figures import check_matplotlib


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_options(parser)
    add_other_model_options(parser)
    add_image_options(parser)
    parser.add_argument(
        '--batch-size',
        type=int,
        default=64,
        help='images of a batch, over which the estimates are summed; default 64',
    )
    args = parser.parse_args()
    check_image_options(parser, args, batch_size=LEAST_IMAGES)
    return args


def load(
    config: str, checkpoint: str, student: bool, cfg_options: dict[str, Any] | None
) -> tuple[FrozenBackbone, dict[str, Any]]:
    """A model, and what is recorded of it."""
    with evaluated_config(config, checkpoint, cfg_options) as found:
        model = load_backbone(found, checkpoint, student)
    record: dict[str, Any] = dict(
        config=config, checkpoint=checkpoint, network=model.network
    )
    if cfg_options:
        record['cfg_options'] = cfg_options
    return model.to(get_device()), record


def title(record: dict[str, Any]) -> str:
    """A model's name in the picture."""
    config, checkpoint = (Path(record[key]).stem for key in ('config', 'checkpoint'))
    return f'{config.removeprefix(TIMM)}, {checkpoint}, {record["network"]}'


def main() -> None:
    """Load both, compare, write."""
    args = parse_args()
    check_matplotlib()
    # First, so that a missing image shows before the models are loaded.
    sources = find_sources(args.images)
    options = [
        (args.config, args.checkpoint, args.student, args.cfg_options),
        (
            args.other_config,
            args.other_checkpoint,
            args.other_student,
            args.other_cfg_options,
        ),
    ]
    (first, first_record), (second, second_record) = (load(*one) for one in options)
    args.size = chosen_size(args.size, first, second)
    images = open_images(sources, args.size, first.bit_depth)
    found = layer_cka(first, second, images, args.batch_size)
    for number, row in enumerate(found.cka):
        best = int(row.argmax())
        print(f'block {number:<3} is most like block {best:<3} CKA {row[best]:.3f}')
    left = f', {found.num_left_over} left out' if found.num_left_over else ''
    print(f'0 is the patch embedding; {found.num_images} images{left}')
    record = dict(
        first=first_record,
        second=second_record,
        size=args.size,
        batch_size=args.batch_size,
        num_images=found.num_images,
        cka=found.cka.tolist(),
    )
    os.makedirs(args.out, exist_ok=True)
    with atomic_file(os.path.join(args.out, 'cka.json')) as part:
        Path(part).write_text(json.dumps(record, indent=1))
    names = [title(record[name]) for name in ('first', 'second')]
    with atomic_file(os.path.join(args.out, 'cka.png')) as part:
        draw_cka(found.cka, *names).savefig(part)
    print(f'Written into {args.out}')
