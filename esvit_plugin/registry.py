"""Registries of the scope ``esvit_plugin``, children of mmpretrain's.

mmengine builds what comes from ``_base_ = 'esvit_plugin::...'`` in this scope. They are
empty: components are registered in mmpretrain's, so that ``mmpretrain.EsViT`` works
everywhere, and names without a scope, or with this one, are found there.
"""

from typing import Any

import mmpretrain.registry
from mmengine.registry import Registry

SCOPE = 'esvit_plugin'


class _Child(Registry):
    """A registry that finds ``esvit_plugin.X`` in its parent, as it does ``X``."""

    def get(self, key: str) -> Any:
        """The component of a name, with or without this package's scope."""
        return super().get(key.removeprefix(f'{SCOPE}.'))


def _add_child(parent: Registry) -> Registry:
    # mmengine imports the modules of a child, but not those of its parent.
    locations = [SCOPE, *parent._locations]
    child = _Child(parent.name, parent=parent, scope=SCOPE, locations=locations)
    # From other packages, a name is looked for among the children of the root.
    if parent.root is not parent:
        parent.root._add_child(child)
    return child


__all__ = list(mmpretrain.registry.__all__)
globals().update(
    {name: _add_child(getattr(mmpretrain.registry, name)) for name in __all__}
)
