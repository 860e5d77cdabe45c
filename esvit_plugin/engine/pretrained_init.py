"""Loading of weights that says when a file has none of a model's."""

import contextlib
import copy
from collections.abc import Iterator, Mapping, Set
from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.model.weight_init import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from ..models.conversion.names import (
    STUDENT,
    TEACHER,
    convert_first,
    find_network,
    must_convert,
)
from ..models.strict_loading import (
    check_bias_tables,
    find_cut_off,
    find_misfits,
    wants_whole_weights,
)
from ..models.swin_names import rename_last_norms
from ..type_names import PRETRAINED, type_name
from .config_checks import dicts
from .head_counts import check_heads
from .keep_blocks import keep_first


def name_pretrained(model: Any) -> Any:
    """Give weights that a model loads the name by which mmengine knows them.

    mmengine compares ``init_cfg['type']`` with 'Pretrained', and would put random
    weights over those that a class loads.

    Args:
        model: Config of a model; anything else is returned as it is.

    Returns:
        The config, a copy where it has an ``init_cfg`` of the class ``PretrainedInit``.
    """
    if not isinstance(model, dict):
        return model
    model = copy.deepcopy(model)
    for _, node in dicts(model):
        if type_name(node) in PRETRAINED:
            node['type'] = PRETRAINED[0]
    return model


@contextlib.contextmanager
def refuse_misfits(
    model: Any, path: str, prefix: str | None = None, may_cut: bool = False
) -> Iterator[None]:
    """Refuse a file without a tensor of a model, while mmengine loads it.

    mmengine only logs what does not fit, so that a file whose names or shapes are
    others, or lie under another prefix, trains from random weights. Some tensors may be
    missing or left over, as in mmengine, and heads may be of other sizes than in the
    file, such as of other classes, except within ``whole_weights``.

    Args:
        model: The model, which may be wrapped for several processes.
        path: The file, for the message.
        prefix: Prefix of the model's names in it. Defaults to None, no prefix.
        may_cut: Allow a file with more blocks than the backbone has.
            Defaults to False.

    Raises:
        ValueError: If the file has none of its tensors, has to be converted, is of a
            ViT with another number of heads, has weights of the backbone in other
            shapes or of more blocks, or is refused by the model; the message names it
            and says what to do.
    """
    model = model.module if is_model_wrapper(model) else model
    tensors = model.state_dict()
    own = set(tensors)
    strict = wants_whole_weights()
    check_heads(model, path)
    has_backbone = any('backbone' in name.split('.') for name in own)

    def is_backbone(text: str) -> bool:
        # A model without one is one itself, or a part with an init_cfg of its own.
        return not has_backbone or 'backbone' in text.split()[0].split('.')

    def find_more(state_dict: Mapping[str, Any]) -> list[str]:
        if may_cut:
            return []
        return [name for name in find_cut_off(model, state_dict) if is_backbone(name)]

    def check(_: nn.Module, state_dict: dict[str, Any], *args: Any) -> None:
        rename_last_norms(model, state_dict)
        shared = own & set(state_dict)
        if must_convert(state_dict, own) or (own and not shared):
            raise ValueError(_explain(model, own, state_dict, path, prefix))
        missing = sorted(n for n, _ in model.named_parameters() if n not in state_dict)
        misfits = find_misfits(model, state_dict)
        if not strict:
            missing, misfits = [], [text for text in misfits if is_backbone(text)]
        wrong = misfits or find_more(state_dict)
        if wrong or missing:
            what = f'lacks {", ".join(missing[:3])}' if missing else f'has {wrong[0]}'
            raise ValueError(
                f'{path} is of another architecture than the {type(model).__name__} of '
                f'the config: it {what}. Use the config of its architecture.'
            )
        if strict:
            check_bias_tables(tensors, state_dict)

    handle = model.register_load_state_dict_pre_hook(check)
    if strict:
        # Before those of backbones, which resize tables.
        model._load_state_dict_pre_hooks.move_to_end(handle.id, last=False)
    try:
        yield
    except AssertionError as error:
        # mmengine's, of a prefix that no name has.
        if 'is not in the pretrained model' not in str(error):
            raise
        content = CheckpointLoader.load_checkpoint(path, 'cpu')
        raise ValueError(_explain(model, own, content, path, prefix)) from error
    except ValueError as error:
        if path in str(error):
            raise
        raise ValueError(f'{path}: {error}') from error
    finally:
        handle.remove()


def _explain(
    model: nn.Module,
    own: Set[str],
    content: Mapping[str, Any],
    path: str,
    prefix: str | None,
) -> str:
    """Say what a file holds instead of the model's weights, and what to do."""
    network = find_network(content)
    names = [
        n for n, v in (network[1] if network else {}).items() if isinstance(v, Tensor)
    ]
    under = f' under {prefix!r}' if prefix else ''
    has = f'{path} has no weights of a {type(model).__name__}{under}'
    if must_convert(content, own):
        return f'{convert_first(path)}, then take DST with prefix={TEACHER!r}.'
    for other in (TEACHER, STUDENT, ''):
        if any(f'{other}{name}' in names for name in own):
            place = f'under {other!r}' if other else 'without a prefix'
            return f'{has}, but {place}: set init_cfg.prefix={other or None!r}.'
    if any(f'{STUDENT}{name}' in own for name in names):
        return (
            f'{has}, but of its backbone alone: set model.backbone.init_cfg='
            f"dict(type='Pretrained', checkpoint={path!r}) instead."
        )
    return f'{has}: it holds {names[:3] or sorted(map(str, content))[:3]}, ...'


@WEIGHT_INITIALIZERS.register_module(name='Pretrained', force=True)
class CheckedPretrainedInit(PretrainedInit):
    """mmengine's ``PretrainedInit``, which refuses a file without the module's weights.

    Args:
        checkpoint: Path or address of the file.
        prefix: Prefix of the module's names in it. Defaults to None, no prefix.
        map_location: As for ``torch.load``. Defaults to 'cpu'.
        keep_blocks: Of a plain ViT take only so many of the first blocks, and what
            comes before them: patch embedding, positions and class token; the file
            may be of a deeper one. The later blocks and the last norm begin as without
            a file, as in MAE-lite's analysis (arXiv 2205.14443). Defaults to None, all
            weights.

    Raises:
        ValueError: If ``keep_blocks`` is no whole number of 0 or more.
    """

    def __init__(
        self,
        checkpoint: str,
        prefix: str | None = None,
        map_location: str = 'cpu',
        keep_blocks: int | None = None,
    ) -> None:
        super().__init__(checkpoint, prefix, map_location)
        if keep_blocks is not None and (
            type(keep_blocks) is not int or keep_blocks < 0
        ):
            raise ValueError(
                'init_cfg.keep_blocks must be a number of blocks, 0 or more, or None, '
                f'got {keep_blocks!r}.'
            )
        self.keep_blocks = keep_blocks

    def __call__(self, module: nn.Module) -> None:
        """Load the weights of ``module``.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: As of :func:`refuse_misfits` and, with ``keep_blocks``, of
                :func:`~esvit_plugin.engine.keep_blocks.keep_first`.
        """
        with contextlib.ExitStack() as stack:
            cuts = self.keep_blocks is not None
            stack.enter_context(
                refuse_misfits(module, self.checkpoint, self.prefix, may_cut=cuts)
            )
            if self.keep_blocks is not None:
                kept = keep_first(module, self.keep_blocks, self.checkpoint)
                stack.enter_context(kept)
            try:
                super().__call__(module)
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f'{error} init_cfg.checkpoint of the {type(module).__name__} names '
                    'it: train or download it first, or name another there.'
                ) from error
