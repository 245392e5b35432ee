"""Sphinx: `make docs`. The tutorials are the notebooks, run by papermill before; nothing is fetched."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from imgprep import __version__  # noqa: E402

project = "imgprep"
author = "the imgprep developers"
copyright = author  # noqa: A001 - Sphinx's name for it
release = version = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_merge_streams = True
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"imgprep {__version__}"
html_static_path = []
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# Widgets of notebooks would be fetched from elsewhere; ours show HTML.
nb_ipywidgets_js = {}
suppress_warnings = ["mystnb.unknown_mime_type"]


def _inline(text: str) -> str:
    """A line of a docstring as reStructuredText that says the same and nothing more."""
    if text.count("`") % 2:  # code that goes on in the next line
        text = text.replace("`", "")
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(f"`{p}`" if p.startswith("`") else re.sub(r"([\\*|_])", r"\\\1", p) for p in pieces)


def plain_docstring(app, what, name, obj, options, lines) -> None:
    """Docstrings here are plain text with lines as they stand, and examples: so they are shown."""
    shown = []
    is_example = False
    for line in lines:
        is_example = line.lstrip().startswith(">>>") or (is_example and bool(line.strip()))
        if is_example or not line.strip():
            if is_example and shown and shown[-1].startswith("|"):
                shown.append("")
            shown.append(line)
        else:
            shown.append(f"| {_inline(line)}")
    lines[:] = shown


def setup(app) -> None:
    app.connect("autodoc-process-docstring", plain_docstring)
