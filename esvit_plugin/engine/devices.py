"""What lets a device work on while the host prepares the next batch."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODEL_WRAPPERS
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.structures import DataSample
from mmpretrain.structures.utils import cat_batch_labels
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from .config_checks import check_matmul_precision


def set_matmul_precision(env_cfg: Mapping) -> None:
    """Set torch's precision of float32 products.

    Args:
        env_cfg: Its ``matmul_precision`` is that of
            ``torch.set_float32_matmul_precision``. Without it torch's own stays.

    Raises:
        ValueError: If there is no such precision.
    """
    check_matmul_precision(env_cfg)
    if env_cfg.get('matmul_precision') is not None:
        torch.set_float32_matmul_precision(env_cfg['matmul_precision'])


def copy_without_waiting(model: nn.Module) -> None:
    """Have data preprocessors copy batches while the device works.

    Args:
        model: The model that holds them.
    """
    for part in model.modules():
        if isinstance(part, BaseDataPreprocessor):
            part._non_blocking = True
        if isinstance(part, ClsDataPreprocessor):
            part.register_forward_pre_hook(_send_labels)


def _send_labels(preprocessor: Any, args: tuple[Any, ...]) -> None:
    """Copy the labels of a batch as one tensor.

    mmpretrain does so, too, but waits until the device has done all its work.
    """
    samples = args[0].get('data_samples')
    if not samples or not isinstance(samples[0], DataSample):
        return
    for field in ('gt_label', 'gt_score'):
        if field not in samples[0]:
            continue
        values = [sample.get(field) for sample in samples]
        joined, ends = cat_batch_labels(values)
        joined = joined.to(preprocessor.device, non_blocking=True)
        for sample, value in zip(samples, joined.tensor_split(ends), strict=True):
            sample.set_field(value, field)


def share_gradients(cfg: dict | None, find_unused: bool) -> dict:
    """Have gradients lie in what processes exchange, instead of a copy of it.

    It saves the memory of all gradients, and copies. Results are the same.

    Args:
        cfg: Config of the wrapper of a distributed model. None: mmengine's default.
        find_unused: The config's ``find_unused_parameters``.

    Returns:
        The config to build the wrapper of, with ``gradient_as_bucket_view=True``
        unless it says otherwise.
    """
    if cfg is None:
        cfg = dict(broadcast_buffers=False, find_unused_parameters=find_unused)
    cfg = {'type': 'MMDistributedDataParallel', **cfg}
    kind = cfg['type']
    wrapper = MODEL_WRAPPERS.get(kind) if isinstance(kind, str) else kind
    if isinstance(wrapper, type) and issubclass(wrapper, DistributedDataParallel):
        cfg.setdefault('gradient_as_bucket_view', True)
    return cfg
