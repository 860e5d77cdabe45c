"""get_model, as a program of a user calls it: CONFIG CHECKPOINT."""

import sys

import esvit_plugin
from esvit_plugin.engine.cli import run_tool

run_tool(lambda: esvit_plugin.get_model(*sys.argv[1:3]))
