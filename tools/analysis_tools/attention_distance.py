"""The command ``esvit attention-distance`` as a script."""

from esvit_plugin.commands.attention_distance import main
from esvit_plugin.engine.cli import run_tool

if __name__ == '__main__':
    run_tool(main)
