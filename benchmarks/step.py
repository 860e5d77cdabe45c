"""One training step of Swin-T: the paper's 2 x 224 + 8 x 96 px views, both losses.

    python benchmarks/step.py                               # holds 38 GiB
    python benchmarks/step.py --only plain ours 'ours, bfloat16'   # 21 GiB
    python benchmarks/step.py --only plain ours backbones   # 18 GiB
    python benchmarks/step.py --batch-size 64 --amp bfloat16 --device cuda
    python benchmarks/step.py --only ours --prototypes 262144 --rounds 1

``plain`` is the same step with stock Swin blocks of mmpretrain and losses from all
logits (``plain_twins``), and parameter by parameter clipping and teacher. ``backbones``
is ours without heads and losses: what the rest adds is the difference. ``products`` is
the time of the matrix products alone. On a CPU, freed
memory is kept where the name says so and in ``ours`` and ``backbones``.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measure import add_options, as_trained, autocast, in_plain, measure, show
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from esvit_plugin.engine.configs import load_config

CONFIG = Path(__file__).parents[1] / 'configs' / 'esvit_swin_t.py'


def config(args: argparse.Namespace) -> Any:
    """The config of Swin-T with the wanted number of prototypes."""
    cfg = load_config(str(CONFIG))
    init_default_scope(cfg.default_scope)
    cfg.model.compile_backbones = args.compile
    for part in ('neck', 'region_neck'):
        cfg.model[part].out_channels = args.prototypes
    return cfg


def views(args: argparse.Namespace, device: torch.device) -> list[torch.Tensor]:
    """Made-up normalised views."""
    sizes = ((2, 224), (8, 96))
    return [torch.randn(args.batch_size, n, 3, s, s, device=device) for n, s in sizes]


def ours(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """A step as the config trains."""
    cfg = config(args)
    model = MODELS.build(cfg.model).to(device)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    inputs = views(args, device)

    def step() -> None:
        with autocast(args, device):
            losses = model.loss(inputs)
        wrapper.update_params(losses['loss_view'] + losses['loss_region'])
        model.update_teacher(0.996)

    return step


def backbones(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """Student forward and backward and teacher forward, nothing else."""
    model = MODELS.build(config(args).model).to(device)
    inputs = views(args, device)

    def step() -> None:
        model.zero_grad()
        with autocast(args, device):
            groups = [model.encode_group(group, 'student') for group in inputs]
            with torch.no_grad():
                model.encode_group(inputs[0], 'teacher')
        sum(group.views.square().sum() for group in groups).backward()

    return step


def plain(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """The same step as the released programs take it."""
    cfg = config(args)
    cfg.model.compile_backbones = False
    model = MODELS.build(cfg.model).to(device)
    groups = [
        dict(params=[p for p in model.parameters() if p.requires_grad and p.dim() > 1]),
        dict(
            params=[p for p in model.parameters() if p.requires_grad and p.dim() < 2],
            weight_decay=0.0,
        ),
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.04)
    inputs = views(args, device)
    pairs = [
        (mine, theirs)
        for name, part in model._student_parts()
        for mine, theirs in zip(
            part.parameters(), model.teacher[name].parameters(), strict=True
        )
    ]

    def step() -> None:
        with autocast(args, device):
            losses = model.loss(inputs)
        optimizer.zero_grad()
        (losses['loss_view'] + losses['loss_region']).backward()
        with torch.no_grad():
            for mine, _ in pairs:
                if mine.grad is not None:
                    factor = 3.0 / (mine.grad.norm() + 1e-6)
                    if factor < 1:
                        mine.grad.mul_(factor)
            optimizer.step()
            for mine, theirs in pairs:
                theirs.mul_(0.996).add_(mine, alpha=0.004)

    return in_plain(step)


def ours_bfloat16(args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """A step of ours under autocast, whatever ``--amp`` says."""
    return ours(argparse.Namespace(**{**vars(args), 'amp': 'bfloat16'}), device)


VARIANTS = {
    'plain': plain,
    'plain, memory kept': as_trained(plain),
    'ours, memory not kept': ours,
    'ours': as_trained(ours),
    'ours, bfloat16': as_trained(ours_bfloat16),
    'backbones': as_trained(backbones),
}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--prototypes', type=int, default=65536)
    parser.add_argument('--amp', choices=('bfloat16', 'float16'))
    parser.add_argument('--compile', action='store_true', help='compile our backbones')
    add_options(parser, VARIANTS)
    args = parser.parse_args()
    rows = measure(args, VARIANTS)
    title = f'Training step, {args.batch_size} images, K = {args.prototypes}'
    show(rows, 'plain', f'{title}, {args.device}')
    times = {row['name']: row['time'] for row in rows}
    for row in rows:
        print(f'{row["name"]}: {args.batch_size / row["time"]:.2f} images/s')
    if {'ours', 'backbones'} <= set(times):
        share = 1 - times['backbones'] / times['ours']
        print(f'Share of our step outside the backbones: {100 * share:.1f} %')


if __name__ == '__main__':
    main()
