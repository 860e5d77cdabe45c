"""Times and peak memory of named alternatives, each in processes of its own."""

import argparse
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from multiprocessing import get_context
from statistics import median, quantiles
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from esvit_plugin.engine.memory import keep_freed_memory
from esvit_plugin.models import plain_twins

# Matrix products, as torch names them.
PRODUCTS = ('mm', 'addmm', 'bmm', 'baddbmm', 'convolution', 'convolution_backward')
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


def autocast(args: argparse.Namespace, device: torch.device) -> AbstractContextManager:
    """Mixed precision, if wanted."""
    if args.amp is None:
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, args.amp))


def as_trained(variant: Variant) -> Variant:
    """A variant with freed memory kept, as ``tools/train.py`` does on a CPU."""
    return partial(_as_trained, variant)


def _as_trained(
    variant: Variant, args: argparse.Namespace, device: torch.device
) -> Callable[[], Any]:
    if device.type == 'cpu':
        keep_freed_memory()
    return variant(args, device)


def in_plain(step: Callable[[], None]) -> Callable[[], None]:
    """A step that runs the plain twins."""

    def plain_step() -> None:
        with plain_twins():
            step()

    return plain_step


def measure(args: argparse.Namespace, variants: Mapping[str, Variant]) -> list[dict]:
    """Time steps of all variants in turn, so that noise hits all alike.

    Each variant has a process of its own, which builds it, takes two steps to warm up
    and then one per round, while the others wait.

    Returns:
        One dict per variant: ``name``, ``time``, the median of the rounds in s,
        ``ratio``, the median of the ratios to the first variant's time in the same
        round, ``spread``, the distance between the quartiles of these, ``products``,
        the seconds of the matrix products alone, ``others``, those of all other
        operations, ``peak``, the highest memory of the process or device in MiB, and
        ``extra``, by how much the steps raised it.
    """
    names = [name for name in args.only or variants if name in variants]
    spawn = get_context('spawn')
    with ExitStack() as stack:
        workers = [
            stack.enter_context(ProcessPoolExecutor(1, mp_context=spawn)) for _ in names
        ]
        try:
            for worker, name in zip(workers, names, strict=True):
                worker.submit(_build, args, variants[name]).result()
            rounds = [
                [worker.submit(_step).result() for worker in workers]
                for _ in range(args.rounds)
            ]
            memory = [worker.submit(_memories).result() for worker in workers]
            parts = [worker.submit(_parts).result() for worker in workers]
        except BrokenProcessPool:
            raise SystemExit(
                'A process was killed, probably for lack of memory: all variants hold '
                f'theirs at once. Choose fewer of {names} with --only.'
            ) from None
    rows = []
    for name, times, seconds, high in zip(
        names, zip(*rounds, strict=True), parts, memory, strict=True
    ):
        ratios = [t / first[0] for t, first in zip(times, rounds, strict=True)]
        low, upper = ratios * 2 if len(ratios) == 1 else quantiles(ratios, n=4)[::2]
        rows.append(
            dict(
                name=name,
                time=median(times),
                ratio=median(ratios),
                spread=upper - low,
                **seconds,
                **high,
            )
        )
    return rows


def show(rows: Sequence[Mapping[str, Any]], base: str, title: str = '') -> None:
    """Print a table with ratios to the row ``base``."""
    first = next((row for row in rows if row['name'] == base), rows[0])
    print(f'\n{title}'.rstrip())
    print(
        f'{"":34}{"time":>9}{"ratio":>7}{"products":>10}{"others":>9}'
        f'{"peak":>10}{"ratio":>7}{"extra":>10}{"ratio":>7}'
    )
    for row in rows:
        cells = [f'{row["name"]:34}', f'{row["time"]:8.3f}s']
        cells.append(f'{row["ratio"] / first["ratio"]:7.2f}{row["products"]:9.3f}s')
        cells.append(f'{row["others"]:8.3f}s')
        for key in ('peak', 'extra'):
            cells.append(f'{row[key]:7.0f}MiB{row[key] / max(first[key], 1):7.2f}')
        print(''.join(cells), flush=True)


_worker: dict[str, Any] = {}


def _build(args: argparse.Namespace, variant: Variant) -> None:
    """In a worker: build a variant and warm up."""
    torch.manual_seed(0)
    _worker['device'] = device = torch.device(args.device)
    _worker['step'] = variant(args, device)
    _worker['before'] = _memory(device)
    for _ in range(2):
        _step()


def _step() -> float:
    """In a worker: the seconds of a step."""
    _synchronize(_worker['device'])
    start = time.perf_counter()
    _worker['step']()
    _synchronize(_worker['device'])
    return time.perf_counter() - start


class _Timer(TorchDispatchMode):
    """Adds up the times of matrix products and others, each of them timed by itself.

    Fused attention counts as a product, with its softmax. What Python takes is left
    out, and between operations of a GPU nothing overlaps.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.seconds = dict(products=0.0, others=0.0)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__.rstrip('_')
        is_product = name in PRODUCTS or name.startswith('_scaled_dot_product')
        _synchronize(self.device)
        start = time.perf_counter()
        result = func(*args, **kwargs or {})
        _synchronize(self.device)
        seconds = time.perf_counter() - start
        self.seconds['products' if is_product else 'others'] += seconds
        return result


def _parts() -> dict[str, float]:
    """In a worker: the seconds of a step's products, and of its other operations."""
    with _Timer(_worker['device']) as timer:
        _worker['step']()
    return timer.seconds


def _memories() -> dict[str, float]:
    """In a worker: the peak, and how far it is above what was built, in MiB."""
    peak = _peak(_worker['device'])
    return dict(peak=peak, extra=peak - _worker['before'])


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
