"""Times and peak memory of named alternatives, each in processes of its own."""

import argparse
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from statistics import median
from typing import Any

import torch

# Given the options and a device, builds everything and returns one step.
Variant = Callable[[argparse.Namespace, torch.device], Callable[[], Any]]


def add_options(
    parser: argparse.ArgumentParser, variants: Mapping[str, Variant]
) -> None:
    """Add the options that all benchmarks have."""
    parser.add_argument('--rounds', type=int, default=5, help='medians are over these')
    parser.add_argument('--only', nargs='+', choices=variants, help='some variants')
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )


def measure(args: argparse.Namespace, variants: Mapping[str, Variant]) -> list[dict]:
    """Run every variant once per round, in turn, so that noise hits all alike.

    A worker builds its variant, takes a step to warm up and measures another one.

    Returns:
        One dict per variant: ``name``, ``time`` in s, ``peak``, the peak memory of
        the process or device in MiB, and ``extra``, by how much the steps raised it.
    """
    names = [name for name in args.only or variants if name in variants]
    found: dict[str, list[dict]] = {name: [] for name in names}
    for _ in range(args.rounds):
        for name in names:
            # Fresh, so that nobody else's memory counts.
            with get_context('spawn').Pool(1) as pool:
                found[name].append(pool.apply(_work, (args, variants[name])))
    return [
        dict(name=name, **{key: median(r[key] for r in runs) for key in runs[0]})
        for name, runs in found.items()
    ]


def show(rows: Sequence[Mapping[str, Any]], base: str, title: str = '') -> None:
    """Print a table with ratios to the row ``base``."""
    first = next((row for row in rows if row['name'] == base), rows[0])
    print(f'\n{title}'.rstrip())
    print(
        f'{"":34}{"time":>9}{"ratio":>7}{"peak":>10}{"ratio":>7}{"extra":>10}{"ratio":>7}'
    )
    for row in rows:
        cells = [f'{row["name"]:34}', f'{row["time"]:8.3f}s']
        cells.append(f'{row["time"] / first["time"]:7.2f}')
        for key in ('peak', 'extra'):
            cells.append(f'{row[key]:7.0f}MiB{row[key] / max(first[key], 1):7.2f}')
        print(''.join(cells), flush=True)


def _work(args: argparse.Namespace, variant: Variant) -> dict[str, float]:
    device = torch.device(args.device)
    torch.manual_seed(0)
    step = variant(args, device)
    before = _memory(device)
    step()
    _synchronize(device)
    start = time.perf_counter()
    step()
    _synchronize(device)
    seconds = time.perf_counter() - start
    peak = _peak(device)
    return dict(time=seconds, peak=peak, extra=peak - before)


def _memory(device: torch.device) -> float:
    """MiB in use now."""
    if device.type == 'cuda':
        return torch.cuda.memory_allocated(device) / 2**20
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def _peak(device: torch.device) -> float:
    """MiB in use at most until now."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 2**20
    with open('/proc/self/status') as file:  # in kB
        high = next(line for line in file if line.startswith('VmHWM'))
    return int(high.split()[1]) / 2**10


def _synchronize(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
