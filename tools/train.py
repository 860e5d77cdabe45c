"""The command ``esvit train`` as a script."""

from esvit_plugin.commands.train import main, merge_args
from esvit_plugin.engine.cli import run_tool

__all__ = ['main', 'merge_args']

if __name__ == '__main__':
    run_tool(main)
