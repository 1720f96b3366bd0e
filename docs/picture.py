"""The picture in the README: the top of the HTML page of examples/wrong_rule.py. `make picture` needs a browser."""

import re
import runpy
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from pullback import parity

FOLDER = Path(__file__).parent
PICTURE = FOLDER / "wrong-rule.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WIDTH = 1200
VIEWPORT = 900  # pixels of the page, so that its text is large enough where the picture is shown smaller
TALLEST = 3000
MARGIN = 24


def page_of_wrong_rule() -> str:
    example = runpy.run_path(str(FOLDER / "examples" / "wrong_rule.py"))
    both = {"reference": example["plain"], "torch": example["in_torch"]}
    return parity.check(example["layer_norm"], *example["example_args"](), **both, dtypes=["float64"]).to_html()


def top_of(page: str) -> str:
    """The page up to its plot: verdict, what is wrong, and the plot."""
    return re.sub(r"<figcaption>.*</main>", "</figure>\n</main>", page, count=1, flags=re.DOTALL)


def photographed(page: str, browser: str) -> Image.Image:
    """What the browser shows of it, at its full height."""
    with tempfile.TemporaryDirectory() as folder:
        source, shot = Path(folder, "page.html"), Path(folder, "page.png")
        source.write_text(page, encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--disable-lcd-text"]
        options += [f"--user-data-dir={folder}/profile"]
        options += [f"--window-size={VIEWPORT},{TALLEST}", f"--force-device-scale-factor={WIDTH / VIEWPORT}"]
        command = [browser, *options, f"--screenshot={shot}", source.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if not shot.is_file():
            raise SystemExit(f"{browser} made no picture:\n{done.stderr}")
        return cropped(Image.open(shot).convert("RGB"))


def cropped(picture: Image.Image) -> Image.Image:
    """Without the empty rows below."""
    pixels = np.asarray(picture)
    filled = np.flatnonzero((pixels != pixels[-1, -1]).any(axis=(1, 2)))
    return picture.crop((0, 0, picture.width, min(picture.height, int(filled[-1]) + MARGIN)))


def with_palette(picture: Image.Image) -> Image.Image:
    """In its 256 most frequent colours, which makes the file a third as large: only edges of letters have others."""
    pixels = np.asarray(picture)
    colours, which, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    kept = colours[np.argsort(-counts)[:256]]
    # Not Pillow's own mapping: it takes near colours, white and almost white, for the same.
    nearest = np.abs(colours[:, None].astype(int) - kept).sum(axis=-1).argmin(axis=1).astype(np.uint8)
    shown = Image.fromarray(nearest[which].reshape(pixels.shape[:2]))
    shown.putpalette(kept.tobytes())
    return shown


def main() -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"the picture is made by a browser, and none of {', '.join(BROWSERS)} is on the PATH")
    picture = photographed(top_of(page_of_wrong_rule()), browser)
    with_palette(picture).save(PICTURE, optimize=True)
    print(f"{PICTURE.name}: {picture.width} × {picture.height} pixels, {PICTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
