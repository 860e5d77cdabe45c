"""The programs behind the command ``esvit`` and the scripts in ``tools/``.

Each module has a ``main()`` that reads the command line; ``esvit_cli.COMMANDS`` names
them.
"""
