"""``python -m esvit_plugin`` is the command ``esvit``."""

from esvit_cli import main

main()
