"""mmengine's own Runner, with this package imported: CONFIG CHECKPOINT WORK_DIR."""

import sys

from mmengine.config import Config
from mmengine.runner import Runner

from esvit_plugin.engine.cli import run_tool


def main():
    cfg = Config.fromfile(sys.argv[1])
    cfg.resume, cfg.load_from, cfg.work_dir = True, sys.argv[2], sys.argv[3]
    cfg.custom_hooks = []
    Runner.from_cfg(cfg).train()


run_tool(main)
