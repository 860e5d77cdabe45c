"""Necks and losses alone, from features of the backbone to gradients.

    python benchmarks/heads.py
    python benchmarks/heads.py --prototypes 4096 16384 65536 262144 --rounds 1
    python benchmarks/heads.py --batch-size 2 8 32 --rounds 1
    python benchmarks/heads.py --num-local 0 4 8 --rounds 1

``plain`` holds the logits of all views and regions and takes the losses pair by pair
(``plain_twins``). ``lightly, views only`` is lightly's DINO head and loss on views,
if lightly is installed, beside ``ours, views only``. On a CPU, freed memory is kept
where the name says so and in ``ours``, as ``tools/train.py`` does.
"""

import argparse
import itertools
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from measure import add_options, as_trained, in_plain, measure, show
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from esvit_plugin.models.selfsup import ViewFeatures

WIDTH = 768


def heads(args: argparse.Namespace, **kinds: Any) -> nn.Module:
    """An EsViT with a backbone that is not used."""
    neck = dict(type='DINOProjection', in_channels=WIDTH, out_channels=args.prototypes)
    cfg = dict(
        type='EsViT',
        backbone=nn.Identity(),
        neck=neck,
        head=dict(type='DINOViewHead'),
        region_neck=neck,
        region_head=dict(type='RegionMatchingHead'),
    )
    return MODELS.build({**cfg, **kinds})


def features(args: argparse.Namespace, device: torch.device) -> Any:
    """Made-up features of the student's and the teacher's views; see ``score``."""

    def group(num_views: int, num_regions: int, trained: bool) -> ViewFeatures:
        shape = args.batch_size, num_views, num_regions, WIDTH
        regions = torch.randn(shape, device=device, requires_grad=trained)
        return ViewFeatures(regions.mean(2), regions)

    sizes = [(2, 49), (args.num_local, 9)]
    return [group(*size, trained=True) for size in sizes if size[0]], group(
        2, 49, False
    )


def plain(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """Logits of everything."""
    return in_plain(ours(args, device))


def ours(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """Block by block."""
    model = heads(args).to(device)
    return _step(args, device, model, model.score)


def ours_views(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """Block by block, without regions."""
    model = heads(args, region_neck=None, region_head=None).to(device)
    return _step(args, device, model, model.score)


def lightly_views(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """Head and loss of lightly's DINO."""
    from lightly.loss import DINOLoss
    from lightly.models.modules import DINOProjectionHead

    sizes = WIDTH, 2048, 256, args.prototypes
    student, teacher = (DINOProjectionHead(*sizes).to(device) for _ in '12')
    loss = DINOLoss(output_dim=args.prototypes).to(device)

    def losses(groups: Any, targets: Any) -> dict[str, Tensor]:
        views = [view for group in groups for view in group.views.unbind(1)]
        with torch.no_grad():
            scored = [teacher(view) for view in targets.views.unbind(1)]
        return dict(loss=loss(scored, [student(view) for view in views], epoch=0))

    return _step(args, device, student, losses)


def _step(
    args: argparse.Namespace, device: torch.device, model: nn.Module, losses: Any
) -> Callable[[], None]:
    model.train()

    def step() -> None:
        model.zero_grad()
        student, teacher = features(args, device)
        values = losses(student, teacher)
        sum(value for name, value in values.items() if 'loss' in name).backward()

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
