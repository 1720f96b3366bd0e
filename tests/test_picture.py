"""docs/picture.py: all of it that needs no browser, and the picture that is kept."""

import importlib.util
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from pullback import parity
from pullback.parity.report.plot import COLOURS


@pytest.fixture
def picture(root):
    spec = importlib.util.spec_from_file_location("picture", root / "docs" / "picture.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_that_is_kept(picture):
    with Image.open(picture.PICTURE) as shown:
        assert shown.width == picture.WIDTH == 1200 and 600 < shown.height < 1.5 * shown.width
        seen = np.unique(np.asarray(shown.convert("RGB")).reshape(-1, 3), axis=0).astype(int)
    for colour in ("#ffffff", *COLOURS[:3]):
        drawn = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert np.abs(seen - drawn).max(axis=1).min() == 0, f"{colour} is in the plot"
    assert picture.PICTURE.stat().st_size < 200_000


def test_the_top_of_a_page_ends_with_its_plot(picture):
    page = parity.check(jnp.sin, np.ones(3, np.float32), checks=["values"], dtypes=[]).to_html()
    top = picture.top_of(page)
    assert top.endswith("</figure>\n</main>\n</body>\n</html>\n") and "<svg " in top and "<h1" in top
    assert "<table" in page and "<table" not in top and "How to read this page</h2>" not in top


def test_empty_rows_are_cut_off(picture):
    pixels = np.full((300, 40, 3), 255, np.uint8)
    pixels[100, 7] = 0
    assert picture.cropped(Image.fromarray(pixels)).size == (40, 100 + picture.MARGIN)


def test_a_palette_keeps_the_colours_of_all_that_is_drawn(picture):
    pixels = np.full((100, 100, 3), 255, np.uint8)
    pixels[:90, :4] = [[201, 106, 0], [29, 154, 91], [249, 237, 237], [254, 254, 254]]
    pixels[90:, :] = np.arange(3000).reshape(10, 100, 3) % 251
    drawn = np.asarray(picture.with_palette(Image.fromarray(pixels)).convert("RGB"))
    assert np.array_equal(drawn[:90], pixels[:90])


def test_without_a_browser_it_says_what_it_needs(root, tmp_path):
    command = [sys.executable, str(root / "docs" / "picture.py")]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("the picture is made by a browser, and none of chromium, ")
