"""Variables of a config that reach further than its file makes them."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from ..type_names import type_name
from .config_arguments import runner_names
from .config_checks import dicts, has_dicts

# A file that tests on the images that it validates on has these twice.
_VALIDATION = ('val_dataloader', 'val_evaluator')


def reach_copies(cfg: Config, options: Mapping[str, Any]) -> dict[str, Any]:
    """Let ``--cfg-options`` of a variable change its copies, too.

    A file that puts its ``knn_dataloader`` into a hook has two of them once it is read,
    and only the hook's is used. Copies are equal dicts, or lists of such; numbers may
    be equal by chance. Of what a Runner reads, parts of ``val_dataloader`` and
    ``val_evaluator`` reach those of the test where the file has them alike.

    Args:
        cfg: The config without the options.
        options: The values by dotted name.

    Returns:
        The options, after those of the copies, so that what is said of a copy wins.
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        variable, dot, rest = name.partition('.')
        settings = cfg.get(variable)
        test = variable.replace('val_', 'test_', 1)
        is_pair = variable in _VALIDATION and cfg.get(test) == settings
        if dot and is_pair and has_dicts(settings):
            found[f'{test}.{rest}'] = value
        # What else a Runner reads is no variable; a copy of it has its own purpose.
        if variable in runner_names() or not has_dicts(settings):
            continue
        for path, node in _nodes(cfg._cfg_dict):
            if node == settings and path.split('.')[0] != variable:
                found[f'{path}{dot}{rest}'] = value
    return {**found, **options}


def _nodes(node: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """All parts of a config with their dotted names."""
    if isinstance(node, dict | list | tuple):
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for name, child in pairs:
            place = f'{path}.{name}' if path else str(name)
            yield place, child
            yield from _nodes(child, place)


def spread_bit_depth(cfg: Config, options: Mapping[str, Any]) -> None:
    """Give the variable ``bit_depth`` to all steps of a config that load images.

    An evaluation that read images of 12 bits otherwise than the training would see
    nearly black ones.

    Args:
        cfg: The config; its pipelines are changed. What a step has itself stays, unless
            the variable is in the options.
        options: Of ``--cfg-options``, by dotted name.

    Raises:
        ValueError: If there is the option, and no step loads images.
    """
    is_given = 'bit_depth' in options
    depth = options['bit_depth'] if is_given else cfg.get('bit_depth')
    if depth is None and not is_given:
        return
    steps = [*_loading_steps(cfg._cfg_dict)]
    if is_given and not steps:
        raise ValueError(
            f'bit_depth={depth!r}: {cfg.filename or "the config"} has no LoadImage or '
            'LoadImageFromBytes, which take it; put one first in its pipelines.'
        )
    for step in steps:
        if is_given or 'bit_depth' not in step:
            step['bit_depth'] = depth


def find_bit_depth(cfg: Mapping[str, Any] | Config | None) -> int | None:
    """The ``bit_depth`` that images to train on are loaded with, None if there is none.

    Args:
        cfg: The whole config.
    """
    loader = cfg.get('train_dataloader') if cfg is not None else None
    depths = [step.get('bit_depth') for step in _loading_steps(loader)]
    return depths[0] if depths else None


def _loading_steps(node: Any) -> Iterator[dict]:
    return (step for _, step in dicts(node) if takes_bit_depth(step))


def takes_bit_depth(step: Mapping[str, Any]) -> bool:
    """Whether a step of a pipeline loads images in a way that knows their bits.

    Args:
        step: Its config.
    """
    is_opencv = step.get('imdecode_backend', 'cv2') == 'cv2'
    is_loading = type_name(step) in ('LoadImage', 'LoadImageFromBytes')
    return is_loading and is_opencv and step.get('color_type') != 'unchanged'
