"""Variables of a config, whose values the file has copied elsewhere."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from .config_arguments import runner_names
from .config_checks import has_dicts

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
