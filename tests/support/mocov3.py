"""A small MoCo v3 that trains in milliseconds."""

from typing import Any

WIDTH = 48


def small_mocov3(
    backbone: dict[str, Any] | None = None,
    neck: dict[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Config of a ``ReleasedMoCoV3`` for images of 32 px, with options of its parts."""
    norm_cfg = dict(type='BN1d')
    mlp = dict(
        type='NonLinearNeck',
        hid_channels=32,
        out_channels=16,
        with_last_bn_affine=False,
        with_avg_pool=False,
        norm_cfg=norm_cfg,
    )
    return dict(
        type='ReleasedMoCoV3',
        backbone={
            'type': 'MoCoV3VisionTransformer',
            'arch': dict(
                embed_dims=WIDTH, num_layers=2, num_heads=12, feedforward_channels=64
            ),
            'img_size': 32,
            'patch_size': 16,
            **(backbone or {}),
        },
        neck={**mlp, 'in_channels': WIDTH, 'num_layers': 3, **(neck or {})},
        head=dict(
            type='MoCoV3Head',
            predictor={**mlp, 'in_channels': 16, 'num_layers': 2},
            loss=dict(type='CrossEntropyLoss', loss_weight=0.4),
            temperature=0.2,
        ),
        **options,
    )
