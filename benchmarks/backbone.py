"""Forward, and forward and backward, of backbones: ours, mmpretrain's and timm's.

    python benchmarks/backbone.py                              # 16 images of 224 px
    python benchmarks/backbone.py --size 96 --batch-size 64
    python benchmarks/backbone.py --forward                    # as a teacher
    python benchmarks/backbone.py --amp bfloat16
    python benchmarks/backbone.py --only ViL-T 'ViL-T, activations kept'

At sizes that are no multiple of 224 / 7 windows timm's Swin is built for that size and
shrinks its last windows; ours and mmpretrain's pad them. On a CPU, freed memory is kept
where the name says so and in ``ours``, as ``tools/train.py`` does. Each variant holds
2 to 6 GiB all the time: name some after ``--only``. ``activations kept`` is ours
without what it computes again in the backward pass: the activations of feed-forward
networks and, on a CPU, the weights of attention.
"""

import argparse
from collections.abc import Callable
from functools import partial

import timm
import torch
from measure import (
    Variant,
    add_options,
    as_trained,
    autocast,
    in_plain,
    measure,
    show,
)
from mmpretrain.models.backbones import SwinTransformer
from torch import nn

from esvit_plugin.models import CvT, EsViTSwin, ViL
from esvit_plugin.models.backbones import cvt, swin_blocks, vil
from esvit_plugin.models.layers import biased_attention, window_attention


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
            with torch.no_grad(), autocast(args, device):
                last(model, images)
            return
        model.zero_grad()
        with autocast(args, device):
            output = last(model, images)
        output.float().square().mean().backward()

    return step


def map_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The last map of a backbone of mmpretrain."""
    return model(images)[-1]


def ours(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """``EsViTSwin``."""
    return step_of(args, device, EsViTSwin(arch='tiny'), map_of)


def vil_tiny(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """``ViL``."""
    return step_of(args, device, ViL(arch='tiny'), map_of)


def cvt_tiny(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """``CvT``."""
    return step_of(args, device, CvT(arch='tiny'), map_of)


def activations_kept(variant: Variant) -> Variant:
    """A variant that computes nothing again in the backward pass."""
    return partial(_activations_kept, variant)


def _activations_kept(
    variant: Variant, args: argparse.Namespace, device: torch.device
) -> Callable[[], None]:
    # For good: each variant has a process of its own.
    for module in (biased_attention, window_attention):
        module.computes_weights_again = lambda x: False
    for module in (cvt, swin_blocks, vil):
        module.feed_forward = lambda ffn, x: ffn.layers(x)
    return variant(args, device)


def plain(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """``EsViTSwin`` with mmpretrain's blocks."""
    return in_plain(ours(args, device))


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
        global_pool='',
    )
    return step_of(args, device, model, lambda net, x: net(x))


VARIANTS = {
    'mmpretrain': mmpretrain,
    'mmpretrain, memory kept': as_trained(mmpretrain),
    'EsViTSwin, blocks of mmpretrain': plain,
    'timm': timms,
    'timm, memory kept': as_trained(timms),
    'ours, memory not kept': ours,
    'ours': as_trained(ours),
    'ours, activations kept': as_trained(activations_kept(ours)),
    'ViL-T': as_trained(vil_tiny),
    'ViL-T, activations kept': as_trained(activations_kept(vil_tiny)),
    'CvT-T': as_trained(cvt_tiny),
    'CvT-T, activations kept': as_trained(activations_kept(cvt_tiny)),
}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--size', type=int, default=224, help='side in pixels')
    parser.add_argument('--amp', choices=('bfloat16', 'float16'))
    parser.add_argument('--forward', action='store_true', help='without gradients')
    parser.add_argument('--compile', action='store_true')
    add_options(parser, VARIANTS)
    args = parser.parse_args()
    task = 'forward' if args.forward else 'forward and backward'
    kind = args.amp or 'float32'
    title = f'{args.batch_size} images of {args.size} px, {task}, {kind}'
    show(measure(args, VARIANTS), 'mmpretrain', title)


if __name__ == '__main__':
    main()
