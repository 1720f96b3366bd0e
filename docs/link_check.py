"""After the build: each link inside the site leads to a page and a place that are there. If not, that is a warning.

Sphinx itself looks at the links of pages only, and not at those of the sources that it shows.
"""

import os
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sphinx.util import logging

logger = logging.getLogger(__name__)


class Page(HTMLParser):
    """The places of a page, and where it links to."""

    def __init__(self, file: Path):
        super().__init__()
        self.places: set[str] = {""}
        self.links: list[str] = []
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.places.add(given.get("id") or "")
        self.links += [link for link in (given.get("href"), given.get("src")) if link]


def broken_links(site: Path) -> Iterator[tuple[Path, str]]:
    """Page -> a link on it that leads nowhere."""
    pages = {file: Page(file) for file in sorted(site.rglob("*.html"))}
    for file, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = Path(os.path.normpath(file.parent / unquote(url.path))) if url.path else file
            places = pages[target].places if target in pages else {"", url.fragment}
            if not target.exists() or unquote(url.fragment) not in places:
                yield file.relative_to(site), link


def check(app: Any, error: Exception | None) -> None:
    for page, link in broken_links(Path(app.outdir)) if error is None else ():
        logger.warning("%s links to %s, which leads nowhere", page, link)


def setup(app: Any) -> dict[str, Any]:
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
