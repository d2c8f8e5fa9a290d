"""The documentation as a site: `make site`.

The pages are the Markdown files that a code forge shows, with nothing in them for Sphinx alone:
what a page lists (the pages of its folder) and what code says (the reference) is added when it is
read. The source folder is the repository, so that links between pages, the README and code are
checked as they stand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))

from generator import GENERATED, toctree
from ml.local.removal import removed
from ml.use_cases import available

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Flightline"
html_title = project
extensions = ["myst_parser"]
root_doc = "docs/README"
include_patterns = ["*.md", "docs/**.md"]
# Folders without pages: they would be walked through, and environments are large.
exclude_patterns = [
    *(".*", "dags", "dbt_project", "docs/_build", "feature_repo", "infra", "ml", "tests"),
]

html_theme = "furo"
html_additional_pages = {"index": "start.html"}
templates_path = ["_templates"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False

myst_heading_anchors = 4  # the anchors that a code forge gives to headings
highlight_language = "none"  # most blocks are commands and what they print
suppress_warnings = ["misc.highlighting_failure"]  # blocks show parts of files, with `…` between
# A fork may be without the reference use cases, of which the platform's pages tell.
nitpick_ignore_regex = [
    ("myst", rf"(.*/)?{slug}[/._].*") for slug in removed() if slug not in available()
]


def complete(_app: Sphinx, page: str, source: list[str]) -> None:
    """Add what the page does not say itself: generated parts, and the pages of its folder."""
    text = re.sub(r"<!-- generated: (\w+) -->", lambda found: GENERATED[found[1]](), source[0])
    source[0] = text + toctree(page)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", complete)
