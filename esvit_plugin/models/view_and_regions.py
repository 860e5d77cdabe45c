"""Views and regions in the output of any backbone."""

from typing import Any

from torch import Tensor, nn


def split_features(backbone: nn.Module, outputs: Any) -> tuple[Tensor, Tensor]:
    """Take the view and the regions from what a backbone returns.

    Args:
        backbone: The backbone, a plain one of mmpretrain.
        outputs: What it returned; the last output counts. Either a map
            (B, C, H, W), whose positions are the regions and whose mean is the view;
            or tokens (B, L, C), first the class token (with others, if the backbone
            has any), which is the view, then the regions.

    Returns:
        Views (B, C) and regions (B, T, C), row by row.

    Raises:
        ValueError: If the output is neither; the message names its shape and the
            option to set.
    """
    last = outputs[-1] if isinstance(outputs, (tuple, list)) else outputs
    dim = last.dim() if isinstance(last, Tensor) else 0
    if dim == 4:
        if _channels_last(backbone):
            last = last.permute(0, 3, 1, 2)
        regions = last.flatten(2).transpose(1, 2)
        return regions.mean(1), regions
    num_extra = _num_extra_tokens(backbone)
    if dim != 3 or num_extra is None:
        name = type(backbone).__name__
        shape = tuple(last.shape) if isinstance(last, Tensor) else type(last)
        raise ValueError(
            f'EsViT takes the last output of {name} as a map (B, C, H, W), or as '
            'tokens (B, L, C) of a backbone with num_extra_tokens, but got '
            f'{shape}. {_advice(backbone)}'
        )
    regions = last[:, num_extra:]
    return (last[:, 0] if num_extra else regions.mean(1)), regions


def take_view(backbone: nn.Module, outputs: Any) -> Tensor:
    """Take the view from what a backbone returns, which may be pooled already.

    Args:
        backbone: The backbone, a plain one of mmpretrain.
        outputs: What it returned; the last output counts. Features (B, C) are the
            view, all else is as for ``split_features``.

    Returns:
        Views (B, C).

    Raises:
        ValueError: As ``split_features``.
    """
    last = outputs[-1] if isinstance(outputs, (tuple, list)) else outputs
    if isinstance(last, Tensor) and last.dim() == 2:
        return last
    return split_features(backbone, last)[0]


def _channels_last(backbone: nn.Module) -> bool:
    """Whether maps are (B, H, W, C), as those of some of timm's models."""
    timm_model = getattr(backbone, 'timm_model', None)
    return getattr(timm_model, 'output_fmt', 'NCHW') == 'NHWC'


def _num_extra_tokens(backbone: nn.Module) -> int | None:
    """Number of tokens before the patch tokens, None if it is not known."""
    timm_model = getattr(backbone, 'timm_model', None)
    number = getattr(timm_model, 'num_prefix_tokens', None)
    return getattr(backbone, 'num_extra_tokens', number)


def _advice(backbone: nn.Module) -> str:
    """The option that makes a backbone return something that fits."""
    if hasattr(backbone, 'out_type'):
        return (
            "Set model.backbone.out_type='raw' (the class token is the view, patch "
            "tokens are the regions) or 'featmap' (the view is the regions' mean)."
        )
    if hasattr(backbone, 'gap_before_final_norm'):
        return 'Set model.backbone.gap_before_final_norm=False.'
    if hasattr(backbone, 'timm_model'):
        return (
            'Set model.backbone.features_only=True, or take a timm model whose '
            'forward_features gives a map or tokens.'
        )
    return 'Set its options, such as out_indices or out_type, so that it does.'
