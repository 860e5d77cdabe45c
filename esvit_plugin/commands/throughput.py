"""Forward images/s, parameters, FLOPs and peak memory of backbones.

CONFIG is a config of this package (its path, or its name), the name of a model of
mmpretrain, 'timm::NAME' for a model of timm, or 'PACKAGE::PATH' for a config of an
OpenMMLab package, e.g. 'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py'. Of a
whole model the backbone is measured. Every model runs in a process of its own; with
several rounds the table shows medians. FLOPs are multiply-adds for one image.
'published' are the paper's images/s of that backbone, batch 128 on a V100
(configs/metafile.yml). --cfg-options are for every CONFIG.
"""

import argparse
import multiprocessing
import statistics
import sys
from pathlib import Path

import yaml
from mmengine.device import get_device

from ..engine.cli import check_at_least, describe
from ..engine.configs import CONFIGS
from ..engine.options import add_config_options
from ..evaluation.throughput import (
    Throughput,
    backbone_config,
    measure_backbone,
)

METAFILE = CONFIGS / 'metafile.yml'


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
    add_config_options(parser)
    return parser.parse_args()


def published() -> dict[str, int]:
    """Images/s that the paper reports, by the name of a config."""
    models = yaml.safe_load(METAFILE.read_text())['Models']
    key = 'Throughput (images/s, V100, batch 128)'
    return {
        model['Name']: model['Metadata'][key]
        for model in models
        if key in model.get('Metadata', {})
    }


def table(rows: dict[str, list[Throughput]], changed: bool = False) -> str:
    """A Markdown table of the medians; nothing is published of changed models."""
    theirs = {} if changed else published()
    lines = [
        '| model | parameters (M) | FLOPs (G) | images/s | published | peak (MiB) |',
        '|---|---|---|---|---|---|',
    ]
    for name, rounds in rows.items():
        if not rounds:
            lines.append(f'| {name} | failed | | | | |')
            continue
        columns = zip(*rounds, strict=True)
        mid = Throughput(*(statistics.median(column) for column in columns))
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
        # A wrong name is refused before anything runs.
        backbone_config(config, args.cfg_options)
    rows: dict[str, list[Throughput]] = {config: [] for config in args.configs}
    names = ('batch_size', 'size', 'device', 'amp', 'seconds')
    settings = {name: getattr(args, name) for name in names}
    settings['options'] = args.cfg_options
    failed = False
    try:
        for number in range(args.rounds):
            for config in args.configs:
                # Memory is that of a fresh process.
                with multiprocessing.get_context('spawn').Pool(1) as pool:
                    try:
                        row = pool.apply(measure_backbone, (config,), settings)
                    except Exception as error:
                        failed = True
                        print(f'{config}: {describe(error)}')
                        continue
                rows[config].append(row)
                print(f'round {number + 1}: {config} {row.images_per_s:.1f} images/s')
    finally:
        batch = f'batch {args.batch_size}, {args.size} px, {args.device}'
        batch += f', {args.amp}' if args.amp else ''
        print(f'\n{batch}\n{table(rows, bool(args.cfg_options))}')
    sys.exit(failed)
