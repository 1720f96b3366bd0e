"""Links of the site: whatever a page links to in the repository has a page here.

The pages are Markdown that is also read in a repository's browser, so they link to files: `../functional/lin.py`. Here
such a link goes to the page that is made of the file: its notebook, its text, or its source as sphinx.ext.viewcode
shows it. Every other file gets a page of its own with its text. A link to what does not exist is a warning.
"""

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util import logging

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
logger = logging.getLogger(__name__)


def origin_of(docname: str) -> Path:
    """Where the page's text lies in the repository."""
    folder, _, name = docname.rpartition("/")
    return Path({"notebooks": "notebooks", "project": "."}.get(folder, f"docs/{folder}")) / name


def page_of(path: str) -> str | None:
    """The page, in docs/, that a file of the repository is; None if it is none."""
    folder, name = posixpath.split(path)
    if path == "README.md":
        return "index.md"
    if path in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"):
        return f"project/{path}"
    if folder == "notebooks" and name.endswith(".ipynb"):
        return path
    return path.removeprefix("docs/") if folder.startswith("docs") and name.endswith(".md") else None


def rewritten(text: str, docname: str) -> str:
    """The Markdown, with each link to a file as one to its page, or as `repo:path` where it is no Markdown page."""

    def link(match: re.Match[str]) -> str:
        path, anchor = match.group(1), match.group(2) or ""
        target = posixpath.normpath(posixpath.join(origin_of(docname).parent.as_posix(), path))
        if path.endswith(".png"):
            return match.group(0)
        if not (ROOT / target).exists():
            logger.warning("%s links to %s, which does not exist", docname, target, location=docname)
            return match.group(0)
        page = page_of(target)
        return f"repo:{target}" if page is None else os.path.relpath(page, posixpath.dirname(docname) or ".") + anchor

    return LINK.sub(link, text)


def rewrite(app: Any, docname: str, source: list[str]) -> None:
    source[0] = rewritten(source[0], docname)


def resolve(app: Any, doctree: nodes.document, docname: str) -> None:
    """`repo:path` becomes a link to the page of that file, which is noted, to be made if viewcode does not make it."""
    for reference in doctree.findall(nodes.reference):
        uri = reference.get("refuri", "")
        if uri.startswith("repo:"):
            page = source_page(app, uri.removeprefix("repo:"))
            reference["refuri"] = app.builder.get_relative_uri(docname, page)
            reference["internal"] = True
            reference["classes"] = [name for name in reference["classes"] if name != "external"]


def source_page(app: Any, path: str) -> str:
    module = "pullback." + path.removesuffix(".py").replace("/", ".")
    if path.endswith(".py") and getattr(app.env, "_viewcode_modules", {}).get(module):
        return "_modules/" + module.replace(".", "/")
    pages = app.env.__dict__.setdefault("repository_pages", set())
    pages.add(path)
    if (ROOT / path).is_dir():
        for file in sorted((ROOT / path).iterdir()):
            if file.is_file() and not file.name.startswith("."):
                pages.add(file.relative_to(ROOT).as_posix())
    return f"source/{path}"


def collect(app: Any) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The pages of files and folders, as viewcode makes its own."""
    for path in sorted(getattr(app.env, "repository_pages", ())):
        file, name = ROOT / path, f"source/{path}"
        if file.is_dir():
            inside = [other for other in sorted(app.env.repository_pages) if posixpath.dirname(other) == path]
            links = [f'<li><a href="{app.builder.get_relative_uri(name, "source/" + i)}">{i}</a></li>' for i in inside]
            body = f"<ul>{''.join(links)}</ul>"
        else:
            lexer = {".py": "python", ".json": "json"}.get(file.suffix, "text")
            numbers = "inline" if lexer == "python" else False
            body = app.builder.highlighter.highlight_block(file.read_text(), lexer, linenos=numbers)
        yield name, {"title": path, "body": f"<h1><code>{path}</code></h1>{body}"}, "page.html"


def setup(app: Any) -> dict[str, Any]:
    app.connect("source-read", rewrite)
    app.connect("doctree-resolved", resolve)
    app.connect("html-collect-pages", collect)
    return {"parallel_read_safe": False, "parallel_write_safe": False}
