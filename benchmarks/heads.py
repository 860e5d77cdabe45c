"""Necks and losses alone, from features of the backbone to gradients.

    python benchmarks/heads.py
    python benchmarks/heads.py --prototypes 4096 16384 65536 262144 --rounds 1
    python benchmarks/heads.py --batch-size 2 8 32 --rounds 1
    python benchmarks/heads.py --num-local 0 4 8 --rounds 1

``plain`` holds the logits of all views and regions and takes the losses pair by pair
(benchmarks/plain.py). ``lightly, views only`` is lightly's DINO head and loss on views,
if lightly is installed, beside ``ours, views only``. On a CPU, freed memory is kept
where the name says so and in ``ours``, as ``tools/train.py`` does.
"""

import argparse
import itertools
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from measure import add_options, as_trained, measure, show
from mmpretrain.registry import MODELS
from plain import PlainRegionHead, PlainViewHead, plain_losses
from torch import Tensor, nn

WIDTH = 768


def heads(args: argparse.Namespace, **kinds: Any) -> nn.Module:
    """An EsViT with a backbone that is not used."""
    size = dict(out_channels=args.prototypes)
    neck = dict(type='DINOProjection', in_channels=WIDTH, **size)
    cfg = dict(
        type='EsViT',
        backbone=nn.Identity(),
        neck=neck,
        head=dict(type='DINOViewHead', **size),
        region_neck=neck,
        region_head=dict(type='RegionMatchingHead', **size),
    )
    return MODELS.build({**cfg, **kinds})


def features(args: argparse.Namespace, device: torch.device) -> Any:
    """Made-up (views, regions) of student and teacher; the student's have gradients."""
    counts = [49] * 2 + [9] * args.num_local

    def regions(counts: list[int]) -> list[Tensor]:
        return [torch.randn(args.batch_size, n, WIDTH, device=device) for n in counts]

    student, teacher = regions(counts), regions(counts[:2])
    for view in student:
        view.requires_grad_()
    return tuple(([r.mean(1) for r in part], part) for part in (student, teacher))


def plain(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """Logits of everything."""
    model = heads(
        args,
        head=PlainViewHead(args.prototypes),
        region_head=PlainRegionHead(args.prototypes),
    ).to(device)
    return _step(args, device, model, lambda s, t: plain_losses(model, s, t))


def ours(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """Block by block."""
    model = heads(args).to(device)
    return _step(args, device, model, lambda s, t: model.score(s, t))


def ours_views(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """Block by block, without regions."""
    model = heads(args, region_neck=None, region_head=None).to(device)
    return _step(args, device, model, lambda s, t: model.score(s, t))


def lightly_views(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """Head and loss of lightly's DINO."""
    from lightly.loss import DINOLoss
    from lightly.models.modules import DINOProjectionHead

    sizes = WIDTH, 2048, 256, args.prototypes
    student, teacher = (DINOProjectionHead(*sizes).to(device) for _ in '12')
    loss = DINOLoss(output_dim=args.prototypes).to(device)

    def losses(views: Any, targets: Any) -> dict[str, Tensor]:
        with torch.no_grad():
            scored = [teacher(view) for view in targets[0]]
        return dict(loss=loss(scored, [student(view) for view in views[0]], epoch=0))

    return _step(args, device, student, losses)


def _step(
    args: argparse.Namespace, device: torch.device, model: nn.Module, losses: Any
) -> Callable[[], None]:
    model.train()

    def step() -> None:
        model.zero_grad()
        student, teacher = features(args, device)
        found = losses(student, teacher)
        sum(value for name, value in found.items() if 'loss' in name).backward()

    return step


VARIANTS = {
    'plain': plain,
    'plain, memory kept': as_trained(plain),
    'ours, memory not kept': ours,
    'ours': as_trained(ours),
    'ours, views only': as_trained(ours_views),
    'lightly, views only': lightly_views,
}


def main() -> None:
    """Measure and print a table for each combination."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--batch-size', type=int, nargs='+', default=[8])
    parser.add_argument('--prototypes', type=int, nargs='+', default=[65536])
    parser.add_argument('--num-local', type=int, nargs='+', default=[8])
    add_options(parser, VARIANTS)
    args = parser.parse_args()
    variants = dict(VARIANTS)
    if find_spec('lightly') is None:
        print('lightly is not installed and left out')
        variants.pop('lightly, views only')
    ranges = args.batch_size, args.prototypes, args.num_local
    for args.batch_size, args.prototypes, args.num_local in itertools.product(*ranges):
        title = f'{args.batch_size} images, K = {args.prototypes}'
        title += f', {2 + args.num_local} views'
        show(measure(args, variants), 'plain', title)


if __name__ == '__main__':
    main()
