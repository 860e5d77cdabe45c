"""The command ``esvit test`` as a script."""

from esvit_plugin.commands.test import SaveMetricsHook, check_weights, main
from esvit_plugin.engine.cli import run_tool

__all__ = ['SaveMetricsHook', 'check_weights', 'main']

if __name__ == '__main__':
    run_tool(main)
