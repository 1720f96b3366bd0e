"""The site: `make docs` builds it from docs/, the docstrings and the notebooks, with no network.

Warnings are errors there: a link that leads nowhere, an anchor that is missing, a name that is not known.
"""

import shutil
import sys
from importlib.metadata import version as version_of
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))

# What lies outside of docs/ and is a page too: copied beside the pages, where git does not see it.
COPIED = {
    "notebooks": sorted((ROOT / "notebooks").glob("*.ipynb")),
    "project": [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"],
}
for folder, files in COPIED.items():
    copies = ROOT / "docs" / folder
    copies.mkdir(exist_ok=True)
    for old in set(copies.iterdir()) - {copies / file.name for file in files}:
        old.unlink()
    for file in files:
        copy = copies / file.name
        if not copy.is_file() or copy.read_bytes() != file.read_bytes():
            shutil.copyfile(file, copy)

project = "pullback"
author = "the authors of pullback"
version = release = version_of("pullback")
html_title = f"pullback {version}"
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
extensions += ["site_links", "link_check", "docstrings", "mathml"]  # in this folder
html_math_renderer = "mathml"
exclude_patterns = ["examples"]
highlight_language = "text"
smartquotes_action = "D"  # dashes, and quotes as they were typed
pygments_style, pygments_dark_style = "friendly", "monokai"

# Markdown: anchors are those of a repository's browser.
myst_heading_anchors = 3
myst_url_schemes = ["http", "https", "mailto", "repo"]  # repo: site_links.py
myst_enable_extensions = ["dollarmath"]
nb_execution_mode = "off"
nb_merge_streams = True

# Docstrings: text, with code in single backticks. docstrings.py makes reStructuredText of them.
default_role = "name"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
add_module_names = False
viewcode_line_numbers = True

# Names of other packages are no links, since that needs their inventories from the network. Ours must all be known.
nitpick_ignore_regex = [(r"py:.*", r"(?!pullback\.).*")]
