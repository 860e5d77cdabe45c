"""The command ``esvit knn`` as a script."""

from esvit_plugin.commands.knn import extract_view, find_loaders, main, merge_args
from esvit_plugin.engine.cli import run_tool

__all__ = ['extract_view', 'find_loaders', 'main', 'merge_args']

if __name__ == '__main__':
    run_tool(main)
