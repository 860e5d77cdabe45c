"""Configs as mmengine writes them, read without running them."""

import ast
from typing import Any


def read_settings(text: str) -> dict[str, Any] | None:
    """The model of a dumped config, and the normalisation beside it.

    mmengine's Runner writes the final config, with all ``--cfg-options``, into the work
    folder and into checkpoints. As these may be from elsewhere, nothing of it is run.

    Args:
        text: The config.

    Returns:
        ``model`` and, if given, ``data_preprocessor``; None if the text is no dumped
        config, or has no model.
    """
    found: dict[str, Any] = {}
    try:
        for node in ast.parse(text).body:
            if not isinstance(node, ast.Assign):
                return None
            name = getattr(node.targets[0], 'id', '')
            if name == '_base_':
                return None
            if name in ('model', 'data_preprocessor'):
                found[name] = ast.literal_eval(_DictCalls().visit(node.value))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
    return found if isinstance(found.get('model'), dict) else None


class _DictCalls(ast.NodeTransformer):
    """Makes ``dict(a=1)``, as mmengine writes it, the literal ``{'a': 1}``."""

    def visit_Call(self, node: ast.Call) -> ast.expr:  # noqa: N802
        self.generic_visit(node)
        names = [keyword.arg for keyword in node.keywords]
        if getattr(node.func, 'id', '') != 'dict' or None in names:
            return node
        if len(node.args) == 1 and not names and isinstance(node.args[0], ast.Dict):
            return node.args[0]
        if node.args:
            return node
        keys: list[ast.expr | None] = [ast.Constant(name) for name in names]
        return ast.Dict(keys, [keyword.value for keyword in node.keywords])
