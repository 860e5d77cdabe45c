"""Forward images/s, parameters, FLOPs and peak memory of backbones.

CONFIG is a config of this package (its path, or its name), the name of a model of
mmpretrain, 'timm::NAME' for a model of timm, or 'PACKAGE::PATH' for a config of an
OpenMMLab package, e.g. 'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py'. Of a
whole model the backbone is measured. Every model runs in a process of its own; with
several rounds the table shows medians. FLOPs are multiply-adds for one image.
'published' are the paper's images/s of that backbone, batch 128 on a V100
(configs/metafile.yml).
"""

import argparse
import multiprocessing
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from mmengine.analysis import FlopAnalyzer
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from torch.utils.benchmark import Timer

from esvit_plugin.apis import find_model_config
from esvit_plugin.engine.cli import check_at_least, describe, run_tool

METAFILE = Path(__file__).resolve().parents[2] / 'configs' / 'metafile.yml'


class Row(NamedTuple):
    """What is measured of one model."""

    parameters: float
    flops: float
    images_per_s: float
    memory: float


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='+', metavar='CONFIG')
    parser.add_argument('--batch-size', type=int, default=128)
    parser.add_argument('--size', type=int, default=224, help='side of the images')
    parser.add_argument('--device', default=get_device())
    parser.add_argument('--amp', choices=['float16', 'bfloat16'], help='autocast')
    parser.add_argument('--seconds', type=float, default=5.0, help='time per round')
    parser.add_argument('--rounds', type=int, default=1)
    return parser.parse_args()


def backbone_config(config: str) -> dict[str, Any]:
    """Config of the backbone that CONFIG names."""
    package, _, name = config.rpartition('::')
    if package == 'timm':
        return dict(type='TIMMBackbone', model_name=name)
    model = find_model_config(config)
    return dict(model.get('backbone', model))


def attention_flops(inputs: list, outputs: list) -> int:
    """Multiply-adds of scaled_dot_product_attention, which mmengine does not know."""
    query, key, value = (item.type().sizes() for item in inputs[:3])
    pairs = query[-2] * key[-2]
    for dim in query[:-2]:
        pairs *= dim
    return pairs * (query[-1] + value[-1])


def measure(config: str, args: argparse.Namespace) -> Row:
    """Build a backbone and measure it."""
    init_default_scope('mmpretrain')
    cfg = backbone_config(config)
    if args.device == 'cpu' and cfg.get('norm_cfg', {}).get('type') == 'SyncBN':
        cfg['norm_cfg'] = dict(type='BN')
    model = MODELS.build(cfg)
    model.eval()
    model.to(args.device)
    images = torch.randn(args.batch_size, 3, args.size, args.size, device=args.device)
    before = start_memory(args.device)
    dtype = getattr(torch, args.amp) if args.amp else None
    with (
        torch.no_grad(),
        torch.autocast(torch.device(args.device).type, dtype, enabled=bool(dtype)),
    ):
        model(images)
        timer = Timer(
            'model(images)',
            globals=dict(model=model, images=images),
            num_threads=torch.get_num_threads(),
        )
        seconds = timer.blocked_autorange(min_run_time=args.seconds).median
    peak = peak_memory(args.device) - before
    # Last, as it leaves memory in the process.
    model.cpu()
    one = torch.randn(1, 3, args.size, args.size)
    analyzer = FlopAnalyzer(model, one)
    analyzer.set_op_handle(**{'aten::scaled_dot_product_attention': attention_flops})
    analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with torch.no_grad():
        flops = analyzer.total()
    return Row(
        sum(p.numel() for p in model.parameters()) / 1e6,
        flops / 1e9,
        args.batch_size / seconds,
        peak / 2**20,
    )


def start_memory(device: str) -> float:
    """Begin to watch memory; the bytes in use now."""
    if device.startswith('cuda'):
        torch.cuda.reset_peak_memory_stats(device)
        return 0.0
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')  # forget the highest size so far
    return peak_memory(device)


def peak_memory(device: str) -> float:
    """Most bytes in use since ``start_memory``."""
    if device.startswith('cuda'):
        return torch.cuda.max_memory_allocated(device)
    with open('/proc/self/status') as file:
        line = next(line for line in file if line.startswith('VmHWM'))
    return int(line.split()[1]) * 1024.0


def published() -> dict[str, int]:
    """Images/s that the paper reports, by the name of a config."""
    models = yaml.safe_load(METAFILE.read_text())['Models']
    key = 'Throughput (images/s, V100, batch 128)'
    return {
        model['Name']: model['Metadata'][key]
        for model in models
        if key in model.get('Metadata', {})
    }


def table(rows: dict[str, list[Row]]) -> str:
    """A Markdown table of the medians."""
    theirs = published()
    lines = [
        '| model | parameters (M) | FLOPs (G) | images/s | published | peak (MiB) |',
        '|---|---|---|---|---|---|',
    ]
    for name, found in rows.items():
        if not found:
            lines.append(f'| {name} | failed | | | | |')
            continue
        mid = Row(*(statistics.median(column) for column in zip(*found, strict=True)))
        lines.append(
            f'| {name} | {mid.parameters:.1f} | {mid.flops:.2f} '
            f'| {mid.images_per_s:.1f} | {theirs.get(Path(name).stem, "")} '
            f'| {mid.memory:.0f} |'
        )
    return '\n'.join(lines)


def main() -> None:
    """Measure every model in its turn, then print the table."""
    args = parse_args()
    check_at_least(1, batch_size=args.batch_size, size=args.size, rounds=args.rounds)
    for config in args.configs:
        backbone_config(config)  # a wrong name is refused before anything runs
    rows: dict[str, list[Row]] = {config: [] for config in args.configs}
    failed = False
    try:
        for number in range(args.rounds):
            for config in args.configs:
                # Memory is that of a fresh process.
                with multiprocessing.get_context('spawn').Pool(1) as pool:
                    try:
                        row = pool.apply(measure, (config, args))
                    except Exception as error:
                        failed = True
                        print(f'{config}: {describe(error)}')
                        continue
                rows[config].append(row)
                print(f'round {number + 1}: {config} {row.images_per_s:.1f} images/s')
    finally:
        batch = f'batch {args.batch_size}, {args.size} px, {args.device}'
        print(f'\n{batch}{", " + args.amp if args.amp else ""}\n{table(rows)}')
    sys.exit(failed)


if __name__ == '__main__':
    run_tool(main)
