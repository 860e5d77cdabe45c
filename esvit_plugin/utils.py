"""What mmengine's hub looks for in a package."""

from mmengine.registry import DefaultScope


def register_all_modules(init_default_scope: bool = True) -> None:
    """Register the components of this package and of mmpretrain.

    Importing the package has done so already.

    Args:
        init_default_scope: Whether to make ``mmpretrain``, in whose registries they
            are, the default scope where there is none. Defaults to True.
    """
    if init_default_scope and DefaultScope.get_current_instance() is None:
        DefaultScope.get_instance('mmpretrain', scope_name='mmpretrain')
