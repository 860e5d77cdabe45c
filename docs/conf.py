"""Settings of Sphinx; ``bash docs/build.sh`` builds the site."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import zoo_tables  # noqa: E402

import esvit_plugin  # noqa: E402

project = 'EsViT for OpenMMLab'
author = copyright = 'The maintainers of esvit_plugin'
release = version = esvit_plugin.__version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
exclude_patterns = ['_build']
# Headings of the first three levels are anchors, as on GitHub.
myst_heading_anchors = 3

napoleon_numpy_docstring = False
autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'
# Signatures as they are written, instead of the values of their defaults.
autodoc_preserve_defaults = True

html_theme = 'furo'
html_title = f'{project} {release}'
html_show_sourcelink = False


def setup(app):
    """Put the tables of the metafiles where pages ask for them."""

    def fill(app, docname, source):
        source[0] = zoo_tables.fill(source[0], Path(app.srcdir) / f'{docname}.md')

    app.connect('source-read', fill)
