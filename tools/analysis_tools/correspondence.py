"""The command ``esvit correspondence`` as a script."""

from esvit_plugin.commands.correspondence import main
from esvit_plugin.engine.cli import run_tool

if __name__ == '__main__':
    run_tool(main)
