"""Each finding is what it was, with the versions that the page names; with others it may have been mended."""

import re
import warnings
from importlib.metadata import version

import numpy as np
import pytest

from pullback.benchmarks.findings import KNOWN


@pytest.fixture
def page(root):
    text = (root / "docs" / "findings.md").read_text()
    for name, stated in re.findall(r"(jax|torch) (\d+\.\d+\.\d+)", text):
        if version(name).partition("+")[0] != stated:
            pytest.skip(f"the page is of {name} {stated}")
    return text


def test_each_reproduction_shows_it(page, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 10
    for code in blocks:
        assert len([line for line in code.splitlines() if line.strip()]) <= 5
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(code, {})
        said, right = map(float, capsys.readouterr().out.split())
        assert np.isnan(said) or abs(said - right) > 1e-10 * abs(right), code


def test_what_is_known_is_on_the_page(page):
    for name in KNOWN:
        assert f"`{name}`" in page
