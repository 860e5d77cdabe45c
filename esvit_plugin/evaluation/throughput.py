"""Images per second, parameters, FLOPs and peak memory of a backbone."""

from typing import Any, NamedTuple

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch.utils.benchmark import Timer

from ..apis import find_model_config
from ..type_names import type_name
from .loading import TIMM, find_evaluated

# Batch norms that need a GPU
_SYNCED = ('SyncBN', 'SyncBatchNorm')


class Throughput(NamedTuple):
    """What is measured of one backbone.

    Args:
        parameters: In millions.
        flops: Multiply-adds for one image, in billions.
        images_per_s: Images per second.
        memory: Peak memory of the forward pass, in MiB.
    """

    parameters: float
    flops: float
    images_per_s: float
    memory: float


def backbone_config(
    config: str, options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Config of a backbone.

    Args:
        config: As for ``get_model``, of whose model the backbone is taken; or
            'timm::NAME', a model of timm.
        options: Of ``--cfg-options``. Defaults to None.

    Raises:
        ValueError: If there is no such config, or the options cannot be right for it.
        FileNotFoundError: If the config file does not exist.
    """
    found = find_evaluated(config, options)
    if config.startswith(TIMM):
        return dict(type='TIMMBackbone', model_name=config.removeprefix(TIMM))
    model = find_model_config(found)
    return dict(model.get('backbone', model))


def measure_backbone(
    config: str,
    batch_size: int = 128,
    size: int = 224,
    device: str = 'cpu',
    amp: str | None = None,
    seconds: float = 5.0,
    options: dict[str, Any] | None = None,
) -> Throughput:
    """Build a backbone and measure it, best in a process of its own.

    Args:
        config: As for ``backbone_config``.
        batch_size: Defaults to 128.
        size: Side of the images in pixels. Defaults to 224.
        device: Defaults to 'cpu'.
        amp: Type of autocast, e.g. 'bfloat16'. Defaults to None, float32.
        seconds: Time to measure. Defaults to 5.
        options: Of ``--cfg-options``. Defaults to None.

    Returns:
        The measurements.
    """
    cfg = backbone_config(config, options)
    if device == 'cpu' and type_name(cfg.get('norm_cfg')) in _SYNCED:
        cfg['norm_cfg'] = dict(type='BN')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg)
    model.eval()
    model.to(device)
    images = torch.randn(batch_size, 3, size, size, device=device)
    before = _start_memory(device)
    dtype = getattr(torch, amp) if amp else None
    with (
        torch.no_grad(),
        torch.autocast(torch.device(device).type, dtype, enabled=bool(dtype)),
    ):
        model(images)
        timer = Timer(
            'model(images)',
            globals=dict(model=model, images=images),
            num_threads=torch.get_num_threads(),
        )
        duration = timer.blocked_autorange(min_run_time=seconds).median
    peak = _peak_memory(device) - before
    # Last, as it leaves memory in the process.
    model.cpu()
    one = torch.randn(1, 3, size, size)
    analyzer = FlopAnalyzer(model, one)
    analyzer.set_op_handle(**{'aten::scaled_dot_product_attention': _attention_flops})
    analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with torch.no_grad():
        flops = analyzer.total()
    return Throughput(
        sum(p.numel() for p in model.parameters()) / 1e6,
        flops / 1e9,
        batch_size / duration,
        peak / 2**20,
    )


def _attention_flops(inputs: list, outputs: list) -> int:
    """Multiply-adds of scaled_dot_product_attention, which mmengine does not know."""
    query, key, value = (item.type().sizes() for item in inputs[:3])
    pairs = query[-2] * key[-2]
    for dim in query[:-2]:
        pairs *= dim
    return pairs * (query[-1] + value[-1])


def _start_memory(device: str) -> float:
    """Begin to watch memory; the bytes in use now."""
    if device.startswith('cuda'):
        torch.cuda.reset_peak_memory_stats(device)
        return 0.0
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')  # forget the highest size so far
    return _peak_memory(device)


def _peak_memory(device: str) -> float:
    """Most bytes in use since ``_start_memory``."""
    if device.startswith('cuda'):
        return torch.cuda.max_memory_allocated(device)
    with open('/proc/self/status') as file:
        line = next(line for line in file if line.startswith('VmHWM'))
    return int(line.split()[1]) * 1024.0
