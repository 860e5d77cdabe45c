"""Write the features of images into an .npz file.

It holds ``paths`` (N,), ``pooled`` (N, C), ``regions`` (N, T, C), the positions of the
last map row by row, and ``last_blocks`` (N, D), the pooled outputs of the last blocks,
which the paper's linear probes take. Damaged images are left out and named. When it is
interrupted, what it has is written beside it, into a file ending in .partial.npz.
"""

import argparse
import contextlib
import os
from typing import Any

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.utils import ProgressBar
from torch.utils.data import DataLoader

from esvit_plugin import get_model
from esvit_plugin.datasets import ImageFiles, collate_images
from esvit_plugin.engine.checkpoints import atomic_file
from esvit_plugin.engine.cli import check_at_least, check_output, run_tool
from esvit_plugin.models.last_blocks import LastBlocks

KEYS = ('pooled', 'regions', 'last_blocks')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the pre-training, or its name')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('images', nargs='+', help='images, or folders of images')
    parser.add_argument('-o', '--out', required=True, help='file to write, *.npz')
    parser.add_argument(
        '--student', action='store_true', help="the student's; default the teacher's"
    )
    parser.add_argument(
        '--size', type=int, help="side of the images; default the backbone's img_size"
    )
    parser.add_argument('--keys', nargs='+', choices=KEYS, default=KEYS)
    parser.add_argument('--num-blocks', type=int, default=4)
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--num-workers', type=int, default=2)
    args = parser.parse_args()
    folder = os.path.dirname(os.path.abspath(args.out))
    if not args.out.endswith('.npz') or not os.path.isdir(folder):
        parser.error(f'--out must be an .npz file in an existing folder: {args.out}')
    return args


def main() -> None:
    """Run the backbone over the images and save."""
    args = parse_args()
    check_at_least(1, size=args.size, batch_size=args.batch_size)
    check_at_least(1, num_blocks=args.num_blocks)
    check_at_least(0, num_workers=args.num_workers)
    check_output(args.out, args.checkpoint, args.config, *args.images)
    model = get_model(args.config, args.checkpoint)
    source = 'student' if args.student else 'teacher'
    backbone = model.get_backbone(source)
    size = args.size or _image_size(backbone)
    images = ImageFiles(args.images, size)
    loader = DataLoader(
        images, args.batch_size, num_workers=args.num_workers, collate_fn=collate_images
    )
    last = LastBlocks(backbone, args.num_blocks)
    model.to(get_device())
    parts: dict[str, list] = {key: [] for key in ('index', *args.keys)}
    bar = ProgressBar(len(images))
    try:
        for number, batch in enumerate(loader, 1):
            if batch is not None:
                index, inputs = batch
                inputs = model.data_preprocessor(dict(inputs=inputs))['inputs']
                with torch.no_grad(), last:
                    pooled, regions = model.encode(inputs, source)
                found = dict(
                    index=index,
                    pooled=pooled,
                    regions=regions,
                    last_blocks=last.features().detach(),
                )
                for key, values in parts.items():
                    values.append(found[key].cpu().numpy())
            bar.update(
                min(args.batch_size, len(images) - (number - 1) * args.batch_size)
            )
    except BaseException:
        # What is done is not lost, and an older whole file is kept.
        if parts['index']:
            save(partial(args.out), images.paths, parts)
        raise
    if not parts['index']:
        raise ValueError(
            f'None of the {len(images)} images could be read, the first is '
            f'{images.paths[0]}; nothing is written.'
        )
    save(args.out, images.paths, parts)
    with contextlib.suppress(FileNotFoundError):
        os.remove(partial(args.out))


def partial(out: str) -> str:
    """Where the features go when not all images are done."""
    return f'{out.removesuffix(".npz")}.partial.npz'


def save(out: str, paths: list[str], parts: dict[str, list]) -> None:
    """Write what there is and say what is missing."""
    arrays: dict[str, Any] = {k: np.concatenate(v) for k, v in parts.items()}
    done = arrays.pop('index')
    with atomic_file(out) as path:
        np.savez(path, paths=np.array([paths[i] for i in done]), **arrays)
    shapes = ', '.join(f'{key} {value.shape}' for key, value in arrays.items())
    print(f'\n{out}: {shapes}')
    missing = sorted(set(range(len(paths))) - set(done.tolist()))
    if missing:
        print(f'{len(missing)} of {len(paths)} images are not in it:')
        for i in missing[:20]:
            print(f'    {paths[i]}')


def _image_size(backbone: torch.nn.Module) -> int:
    """The size that a backbone was made for, 224 where it does not say."""
    size = getattr(getattr(backbone, 'patch_embed', None), 'init_input_size', None)
    return size[0] if size else getattr(backbone, 'img_size', 224)


if __name__ == '__main__':
    run_tool(main)
