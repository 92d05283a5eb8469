"""Sphinx: MyST pages, furo, mathematics written between dollars. `make docs` builds it and takes no warning."""

from importlib.metadata import version as installed_version

project = "Ancestral"
author = "The authors of Ancestral"
copyright = author
release = version = installed_version("ancestral")

extensions = ["myst_parser", "sphinx.ext.mathjax"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = "Ancestral"
html_show_sourcelink = False
html_show_copyright = False
html_static_path = ["style"]
html_css_files = ["tables.css"]
