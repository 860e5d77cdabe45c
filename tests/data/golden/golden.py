"""Deterministic weights and inputs behind the reference values in this folder.

The reference values (``*.npz``) were computed once with the authors' released
EsViT program, in float32 on a CPU. No weights are stored: both sides fill
every parameter from its *released-checkpoint name*, so a test needs only the
name, the shape and the seed.

    from golden import fill, images
    sd = fill({name: shape, ...}, seed=0)      # released name -> float32 tensor
    x = images(seed=0, batch=2, size=224)      # (2, 3, 224, 224) float32
"""

import zlib

import numpy as np
import torch


def _rng(seed, tag):
    return np.random.RandomState(zlib.crc32(f'{seed}:{tag}'.encode()) & 0x7FFFFFFF)


def fill_one(name, shape, seed=0):
    """Value of the parameter ``name`` (released name) of ``shape``, float32."""
    rng, shape = _rng(seed, name), tuple(shape)
    if name.endswith('num_batches_tracked'):
        return torch.zeros(shape, dtype=torch.long)
    noise = rng.standard_normal(shape).astype(np.float32)
    if name.endswith('running_var'):
        value = 1 + 0.1 * np.abs(noise)
    elif name.endswith('running_mean'):
        value = 0.1 * noise
    elif name.endswith('weight_g'):
        value = 1 + 0.05 * noise
    elif 'relative_position_bias' in name:
        value = 0.5 * noise
    elif any(t in name for t in ('pos_embed', 'cls_token')):
        value = 0.2 * noise
    elif len(shape) >= 2:
        value = noise / np.sqrt(np.prod(shape[1:]))
    elif name.endswith('weight'):  # normalisation scale
        value = 1 + 0.1 * noise
    else:  # bias
        value = 0.1 * noise
    return torch.from_numpy(np.asarray(value, dtype=np.float32))


def fill(shapes, seed=0):
    """``{released name: shape}`` -> ``{released name: float32 tensor}``."""
    return {n: fill_one(n, s, seed) for n, s in shapes.items()}


def images(seed=0, batch=2, size=224):
    """Standard-normal image batch (batch, 3, size, size), float32."""
    rng = _rng(seed, f'images-{batch}-{size}')
    return torch.from_numpy(
        rng.standard_normal((batch, 3, size, size)).astype(np.float32)
    )


def normal(seed, tag, shape, std=1.0):
    """Standard-normal tensor of ``shape`` named by ``tag``, float32."""
    return torch.from_numpy(
        (std * _rng(seed, tag).standard_normal(shape)).astype(np.float32)
    )
