"""How far all heads of a vision transformer look, and how widely.

For plain ViTs: mmpretrain's VisionTransformer with what derives from it, and timm's.
Attention distance (pixels) and entropy (nats) of each head of each block, means over
images and patches; the class token is left out before the softmax. Writes
attention_distance.json and a picture of it, with a dot for each head. IMAGES are files,
folders, or names of bundled photographs.
"""

import argparse
import json
import os
from pathlib import Path

from mmengine.device import get_device

from .. import load_backbone
from ..engine.checkpoints import atomic_file
from ..evaluation.attention_distance import attention_spread
from ..evaluation.dumped_config import evaluated_config
from ..evaluation.images import find_sources, open_images
from ..evaluation.options import (
    add_image_options,
    add_model_options,
    check_image_options,
    chosen_size,
)
from ..visualization import draw_attention_spread
from ..visualization.figures import check_matplotlib


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_options(parser)
    add_image_options(parser)
    parser.add_argument('--batch-size', type=int, default=16, help='default 16')
    args = parser.parse_args()
    check_image_options(parser, args, batch_size=1)
    return args


def main() -> None:
    """Measure, write, draw."""
    args = parse_args()
    check_matplotlib()
    # First, so that a missing image shows before the model is loaded.
    sources = find_sources(args.images)
    with evaluated_config(args.config, args.checkpoint, args.cfg_options) as config:
        model = load_backbone(config, args.checkpoint, args.student)
    args.size = chosen_size(args.size, model)
    images = open_images(sources, args.size, model.bit_depth)
    model.to(get_device())
    found = attention_spread(model, images, args.batch_size)
    pairs = zip(found.distance, found.entropy, strict=True)
    for number, (distance, entropy) in enumerate(pairs, 1):
        print(
            f'block {number:<3} distance {distance.mean():6.1f} px'
            f'   entropy {entropy.mean():6.3f} nats'
        )
    print(
        f'uniform   distance {found.uniform[0]:6.1f} px'
        f'   entropy {found.uniform[1]:6.3f} nats, '
        f'{found.num_images} images, {model.network}'
    )
    record = {key: getattr(args, key) for key in ('config', 'checkpoint', 'size')}
    if args.cfg_options:
        record['cfg_options'] = args.cfg_options
    record.update(
        network=model.network,
        num_images=found.num_images,
        grid=found.grid,
        uniform=dict(zip(('distance', 'entropy'), found.uniform, strict=True)),
        distance=found.distance.tolist(),
        entropy=found.entropy.tolist(),
    )
    os.makedirs(args.out, exist_ok=True)
    out = os.path.join(args.out, 'attention_distance')
    with atomic_file(f'{out}.json') as part:
        Path(part).write_text(json.dumps(record, indent=1))
    title = f'{Path(args.config).stem}, {model.network}, {found.num_images} images'
    with atomic_file(f'{out}.png') as part:
        draw_attention_spread(found, title).savefig(part)
    print(f'Written into {args.out}')
