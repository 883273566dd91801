"""Sphinx: the docstrings as API documentation, and the derivations. `sphinx-build -W docs docs/_build`"""

import re
import sys

import fastgrad
from fastgrad._functions import FUNCTIONS

project, author, release = "fastgrad", "the authors of fastgrad", fastgrad.__version__
extensions = ["myst_parser", "sphinx-mathjax-offline", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["_build"]
default_role = "code"  # single backticks, as the docstrings have them
autodoc_typehints = "none"  # the section Parameters says more
html_theme = "alabaster"
html_show_copyright = False
html_theme_options = {"description": sys.modules["fastgrad"].__doc__, "page_width": "1120px", "sidebar_width": "200px"}
highlight_language = "python"


def list_functions(app, page, source):
    """On the page `api`: every function of the table, beneath the docstring of its module."""
    if page != "api":
        return
    lines = [source[0]]
    for family in dict.fromkeys(function.family for function in FUNCTIONS.values()):
        title = family.replace("_", " ").capitalize()
        lines += [
            "",
            title,
            "-" * len(title),
            "",
            f".. automodule:: fastgrad.{family}",
            "   :no-members:",
            "   :no-index:",
            "",
        ]
        lines += [f".. autofunction:: fastgrad::{name}\n" for name, f in FUNCTIONS.items() if f.family == family]
    source[0] = "\n".join(lines)


def keep_formulas(app, what, name, thing, options, lines):
    """Formulas stand indented in the docstrings, to be read as they are: code, for Sphinx, and no quotation."""
    kept, in_formula = [], False
    for before, line in zip(["", *lines], lines, strict=False):
        indented = re.match(r" {4}", line)
        if indented and not before.strip() and not in_formula and not in_section(kept):
            kept += [".. code-block:: none", ""]
            in_formula = True
        elif line.strip() and not indented:
            in_formula = False
        kept.append(line)
    lines[:] = kept


def in_section(lines):
    """Whether a heading such as Parameters has come."""
    return any(re.fullmatch(r"-{5,}", line) or line.startswith(":") for line in lines)


def setup(app):
    app.connect("source-read", list_functions)
    app.connect("autodoc-process-docstring", keep_formulas, priority=100)  # before napoleon rewrites the sections
