"""Configuration of Sphinx."""

import os
import sys

sys.path.insert(0, os.path.abspath(".."))

import skclean

project = "skclean"
author = "The skclean developers"
copyright = "2026, The skclean developers"
release = version = skclean.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
autosummary_generate = True
numpydoc_show_class_members = False
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
}
# Docstrings that are inherited from scikit-learn refer to labels of its own documentation.
suppress_warnings = ["ref.ref"]
# `sphinx-build -b linkcheck` looks at links inside the documentation; it needs no network.
linkcheck_ignore = [r"^https?://"]
html_theme = "pydata_sphinx_theme"
html_title = "skclean"
html_static_path = ["_static"]
html_css_files = ["skclean.css"]
html_show_sourcelink = False
# Pages without pages below them have nothing to show at the left.
html_sidebars = {page: [] for page in ("index", "install", "papers", "benchmarks")}
html_theme_options = {
    "show_prev_next": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 7,
    "footer_start": ["copyright"],
    "footer_end": [],
}
