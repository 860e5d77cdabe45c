"""The command ``esvit convert`` as a script."""

from esvit_plugin.commands.convert import main
from esvit_plugin.engine.cli import run_tool

if __name__ == '__main__':
    run_tool(main)
