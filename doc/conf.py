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
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
autosummary_generate = True
numpydoc_show_class_members = False
sphinx_gallery_conf = {"examples_dirs": "../examples", "gallery_dirs": "auto_examples"}
# Docstrings that are inherited from scikit-learn refer to labels of its own documentation.
suppress_warnings = ["ref.ref"]
html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_prev_next": False}
