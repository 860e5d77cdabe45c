"""The command ``esvit search`` as a script."""

from esvit_plugin.commands.search import main
from esvit_plugin.engine.cli import run_tool

if __name__ == '__main__':
    run_tool(main)
