"""Sphinx: MyST pages, furo, mathematics written between dollars. `make docs` builds it and takes no warning."""

from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.application import Sphinx

from ancestral.cli.main import main

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


def setup(app: Sphinx) -> None:
    app.connect("build-finished", add_page)


def add_page(app: Sphinx, fault: Exception | None) -> None:
    """Writes a page of `ancestral share` beside the documentation's, of the digits that come along."""
    if fault is None and app.builder.name == "html":
        words = ["share", "digits", "--out", str(Path(app.outdir, "digits.html")), "--weights", "8", "--overwrite"]
        assert main(words) == 0
