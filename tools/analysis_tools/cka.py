"""The command ``esvit cka`` as a script."""

from esvit_plugin.commands.cka import main
from esvit_plugin.engine.cli import run_tool

if __name__ == '__main__':
    run_tool(main)
