"""Forward, and forward and backward, of Swin-T: ours, mmpretrain's and timm's.

    python benchmarks/backbone.py                              # 16 images of 224 px
    python benchmarks/backbone.py --size 96 --batch-size 64
    python benchmarks/backbone.py --forward                    # as a teacher

At sizes that are no multiple of 224 / 7 windows timm's Swin is built for that size and
shrinks its last windows; ours and mmpretrain's pad them. On a CPU, freed memory is kept
where the name says so and in ``ours``, as ``tools/train.py`` does. Each variant holds
2 to 3 GiB all the time: name some after ``--only``.
"""

import argparse
from collections.abc import Callable

import timm
import torch
from measure import add_options, as_trained, measure, show
from mmpretrain.models.backbones import SwinTransformer
from plain import stock_swin
from torch import nn

from esvit_plugin.models import EsViTSwin


def step_of(
    args: argparse.Namespace, device: torch.device, model: nn.Module, last: Callable
) -> Callable[[], None]:
    """A step that runs a model on made-up images."""
    model.to(device)
    if args.compile:
        model = torch.compile(model)
    model.train()
    images = torch.randn(args.batch_size, 3, args.size, args.size, device=device)

    def step() -> None:
        if args.forward:
            with torch.no_grad():
                last(model, images)
        else:
            model.zero_grad()
            last(model, images).square().mean().backward()

    return step


def map_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The last map of a backbone of mmpretrain."""
    return model(images)[-1]


def ours(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """``EsViTSwin``."""
    return step_of(args, device, EsViTSwin(arch='tiny'), map_of)


def plain(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """``EsViTSwin`` with mmpretrain's blocks."""
    return step_of(args, device, stock_swin(arch='tiny'), map_of)


def mmpretrain(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """The Swin of mmpretrain."""
    model = SwinTransformer(arch='tiny', pad_small_map=True)
    return step_of(args, device, model, map_of)


def timms(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """The Swin of timm."""
    model = timm.create_model(
        'swin_tiny_patch4_window7_224',
        img_size=args.size,
        drop_path_rate=0.1,
        num_classes=0,
    )
    return step_of(args, device, model, lambda net, x: net.forward_features(x))


VARIANTS = {
    'mmpretrain': mmpretrain,
    'mmpretrain, memory kept': as_trained(mmpretrain),
    'EsViTSwin, blocks of mmpretrain': plain,
    'timm': timms,
    'timm, memory kept': as_trained(timms),
    'ours, memory not kept': ours,
    'ours': as_trained(ours),
}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--size', type=int, default=224, help='side in pixels')
    parser.add_argument('--forward', action='store_true', help='without gradients')
    parser.add_argument('--compile', action='store_true')
    add_options(parser, VARIANTS)
    args = parser.parse_args()
    task = 'forward' if args.forward else 'forward and backward'
    title = f'Swin-T, {args.batch_size} images of {args.size} px, {task}'
    show(measure(args, VARIANTS), 'mmpretrain', title)


if __name__ == '__main__':
    main()
