import html.parser
import re
import subprocess
import sys

import numpy as np
import pytest

from pullback.parity import Finding, Report, check_mnist
from pullback.parity.report.page import STYLE, as_page
from pullback.parity.report.plot import COLOURS
from pullback.parity.verdict.comparison import Outcome
from pullback.parity.verdict.rows import compare

VOID = {"meta", "br"}
LEAF = "w<1>&"
WHO = "my_<rule>"
FINDINGS = [
    Finding("transformations", "vmap & scan", "FAIL", "differs by <3e-2>"),
    Finding("kinks", "x = 0", "note", "jax says 0, torch says 1"),
]


class Page(html.parser.HTMLParser):
    """A page's text, and what its elements are; every element must be closed, in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(page)
        self.close()
        assert not self.open
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def count(self, tag, **attrs):
        return sum(name == tag and attrs.items() <= given.items() for name, given in self.tags)


@pytest.fixture(scope="module")
def passing():
    return check_mnist(8, 4, source="sample")


@pytest.fixture
def failing():
    want = {LEAF: np.ones((2, 2)), "b1": np.ones(2)}
    bounds = {LEAF: np.full((2, 2), 1e-6), "b1": np.full(2, 1e-6)}
    right = {name: leaf.astype(np.float32) for name, leaf in want.items()}
    wrong = right | {LEAF: np.array([[1, 1], [1.5, 1]], np.float32)}
    raised = {"torch": "RuntimeError: <out> of & memory"}
    rows = compare("net", {"right": right, WHO: wrong}, want, bounds, dict.fromkeys(want, np.float32), raised)
    rows[0].diagnosis[WHO] = "half again too <large>"
    return Report.of({"net <&>": "n<1>"}, [Outcome(rows, 10, 3, ((1, 2),), 0.5, ())], FINDINGS)


def test_a_pass(passing):
    page = Page(passing.to_html())
    assert page.text.startswith("PASS: 784 -> 4 -> 1, relu, mse - pullback")
    assert "✓ PASS: all 18 leaves in 6 implementations agree. Every result is as close to a float64" in page.text
    assert "FAIL" not in page.text and "What is wrong" not in page.text and "Not drawn" not in page.text
    for row in passing.rows:
        assert f"{row.check} {row.leaf}" in page.text
    for text in (*passing.about, *passing.about.values(), *passing.implementations):
        assert text in page.text
    assert "Kinks: 0 of 32 comparisons" in page.text
    assert page.count("th", scope="row") == 18 + len(passing.findings)


def test_a_failure(failing):
    page = Page(failing.to_html())
    assert page.text.startswith("FAIL: n<1> - pullback parity")
    assert "✗ FAIL: 2 of 2 leaves in 3 implementations disagree. Wrong: my" in page.text
    assert f"net {LEAF} of {WHO} is wrong at 1 of 4 elements, [1, 0]: half again too <large>. At [1, 0] it" in page.text
    assert "it is 1.500, and 1.000 is right (as right has it): 5e5 times as far off as rounding explains." in page.text
    assert "torch raised RuntimeError: <out> of & memory. So nothing of it could be compared in net." in page.text
    assert "transformations vmap & scan: differs by <3e-2>." in page.text
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", failing.to_html())
    assert "/".join(headings) == (
        "What is wrong/Error against bound/Leaves/Further checks/What ran/How to read this page"
    )
    assert page.count("li") == 3 + 3
    assert f"Not drawn: torch (raised RuntimeError: <out> of & memory): net b1, net {LEAF}." in page.text
    assert f"net {LEAF} 2×2 0 0.5 FAIL FAIL 0.5 1,0" in page.text, "each cell that fails says so"
    assert "kinks x = 0 note jax says 0, torch says 1" in page.text


def test_every_failure_is_told():
    want = {f"w{i}": np.ones(2) for i in range(20)}
    got = {name: leaf + 1 for name, leaf in want.items()}
    rows = compare("net", {"ours": got}, want, dict.fromkeys(want, np.full(2, 1e-9)), {})
    page = Page(as_page(Report.of({"net": "n"}, [Outcome(rows, 0, 0, (), 0.5, ())])))
    assert page.text.count("of ours is wrong at every element.") == 20 and " more." not in page.text
    assert "leaves that come off worst" not in page.text, "20 are drawn"


def test_a_plot_of_some_leaves_says_so():
    want = {f"w{i}": np.ones(2) for i in range(21)}
    rows = compare("net", {"ours": want}, want, dict.fromkeys(want, np.full(2, 1e-9)), {})
    page = Page(as_page(Report.of({"net": "n"}, [Outcome(rows, 0, 0, (), 0.5, ())])))
    assert "The 20 leaves that come off worst, of 21." in page.text


def test_what_is_not_judged_has_a_sign_a_colour_and_words_of_its_own():
    want = {"w": np.ones(2), "b": np.ones(2)}
    bounds = {"w": np.array([np.inf, 1e-9]), "b": np.full(2, 1e-9)}
    rows = compare("net", {"ours": want}, want, bounds, {})
    page = Page(as_page(Report.of({"net": "n"}, [Outcome(rows, 0, 0, (), 0.5, ())])))
    assert page.text.startswith("NOT JUDGED: n - pullback parity") and "? NOT JUDGED: 1 of 2 leaves" in page.text
    assert page.count("h1", **{"class": "unsure"}) == 1 and page.count("span", **{"class": "unsure"}) == 1
    assert page.count("h1", **{"class": "fail"}) == page.count("span", **{"class": "fail"}) == 0
    assert "Not judged net w (1 of 2 elements). In that dtype rounding may move them without bound" in page.text


def test_all_is_escaped(failing):
    page = failing.to_html()
    for text in ("w<1>", "<rule>", "<out>", "<&>", "n<1>", "<3e-2>", "<large>", "vmap & scan"):
        assert text not in page
    for text in ("w&lt;1&gt;&amp;", "my_&lt;rule&gt;", "&lt;out&gt; of &amp; memory", "vmap &amp; scan"):
        assert text in page


def test_it_can_be_read_by_all(passing, failing):
    for report in (passing, failing):
        page = Page(report.to_html())
        tables = 1 + bool(report.findings)
        assert page.count("html", lang="en") == page.count("title") == page.count("h1") == 1
        assert page.count("table") == page.count("caption") == tables
        assert page.count("svg", role="img") == page.count("svg") == 2, "one for each width, and the other is hidden"
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
        assert levels == [1] + [2] * (len(levels) - 1) and len(levels) >= 5
        assert {attrs["href"][1:] for tag, attrs in page.tags if tag == "a"} == {
            attrs["id"] for tag, attrs in page.tags if tag == "h2" and "id" in attrs
        }
        assert all(attrs["scope"] in ("row", "col") for tag, attrs in page.tags if tag == "th")
        for svg in [attrs for tag, attrs in page.tags if tag == "svg"]:
            assert svg["aria-label"].startswith("How many times its bound each error is.")


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    return np.dot(
        [0.2126, 0.7152, 0.0722], [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    )


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_enough_in_the_light_and_in_the_dark():
    """4.5:1 for text and 3:1 for what is drawn, as WCAG 2.2 has it at level AA."""
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w+)", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, re.S)[:2]
    )
    assert light.keys() == dark.keys() and light != dark
    for theme in (light, dark):
        for name in ("ink", "soft", "bad", "good", "unsure", "link"):
            assert contrast(theme[name], theme["ground"]) >= 4.5, name
        assert contrast(theme["ink"], theme["panel"]) >= 4.5
        for colour in COLOURS:
            assert contrast(colour, theme["ground"]) >= 3, colour


def test_it_needs_nothing_beside_it(passing):
    text = passing.to_html()
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert "@import" not in text and "<!DOCTYPE svg" not in text
    addresses = re.findall(r'(\S+)="https?://', text)
    assert set(addresses) == {"xmlns", "xmlns:xlink"} and text.count("://") == len(addresses)
    assert all(url.startswith("#") for url in re.findall(r"url\(([^)]*)\)", text))
    assert len(text) < 400_000


def test_the_same_report_gives_the_same_page(failing):
    assert failing.to_html() == failing.to_html()


def test_without_figures():
    rows = compare("net", {}, {"w": np.ones(2)}, {"w": np.ones(2)}, {}, {"ours": "ValueError: no"})
    page = Page(as_page(Report.of({"net": "n"}, [Outcome(rows, 0, 0, (), 0.5, ())])))
    assert page.count("svg") == 0 and "Not drawn: ours (raised ValueError: no): net w." in page.text


def test_without_matplotlib_the_page_says_what_to_install(failing, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = Page(failing.to_html())
    assert page.count("svg") == 0
    assert "There is no plot here: the page's plot is drawn by matplotlib: pip install 'pullback[report]'" in page.text
    for part in ("✗ FAIL", "What is wrong", "Leaves", "Further checks", "What ran"):
        assert part in page.text


def test_matplotlib_is_imported_only_for_the_page():
    code = "import sys, pullback.parity.report.page; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
