"""docs/: its examples run, and the page shows them as they are and says what they say."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pullback import functional, parity

EXAMPLES = sorted((Path(__file__).parents[1] / "docs" / "examples").glob("*.py"))


@pytest.fixture
def page(root) -> str:
    return (root / "docs" / "parity.md").read_text()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_says_what_the_page_says(example, page, tmp_path):
    result = subprocess.run([sys.executable, example], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert result.returncode == 0, result.stderr
    verdict = result.stdout.rstrip().splitlines()[-1].rstrip()
    _, _, shown = page.partition(f"<!-- output of docs/examples/{example.name} -->")
    assert verdict == shown.split("```")[1].rstrip().splitlines()[-1], result.stdout


def test_the_page_shows_every_example_as_it_is(root, page):
    shown = dict(re.findall(r"^`(docs/examples/\w+\.py)`:\n\n```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))
    assert set(shown) == {f"docs/examples/{example.name}" for example in EXAMPLES}
    for name, text in shown.items():
        assert text == (root / name).read_text(), f"{name} has changed"


def test_the_page_links_to_files_that_exist(root, page):
    links = re.findall(r"\]\((\.\./[^)#]+)\)", page)
    assert links
    assert not [link for link in links if not (root / "docs" / link).exists()]


# docs/lesson.md: a row for each item of the lesson.


@pytest.fixture
def lesson(root) -> list[list[str]]:
    """The cells of each row of its first table."""
    text = (root / "docs" / "lesson.md").read_text()
    table = text.split("|---|---|---|---|\n")[1].split("\n\n")[0]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in table.splitlines()]


def test_every_item_lives_somewhere_and_is_tested_and_shown(root, lesson):
    assert len(lesson) >= 20 and "MEASURED" not in (root / "docs" / "lesson.md").read_text()
    for item, here, test, shown in lesson:
        for path in re.findall(r"`([a-z]+/[\w./]*)`", here):
            assert (root / path).exists(), f"{item}: {path}"
        path, _, name = test.strip("`").partition("::")
        assert f"def {name}(" in (root / path).read_text(), f"{item}: {test}"
        notebook, _, heading = shown.partition(", ")
        headings = re.findall(r"^# #+ (.*)$", (root / "notebooks" / f"{notebook}.py").read_text(), re.MULTILINE)
        assert heading.strip('"') in headings, f"{item}: {shown}"


def test_names_in_it_are_public(lesson):
    public = dir(functional) + dir(parity)
    for item, here, *_ in lesson:
        for names in re.findall(r"`(?:functional|parity)/\w+\.py`: ((?:`\w+`(?:, )?)+)", here):
            for name in re.findall(r"`(\w+)`", names):
                assert name in public, f"{item}: {name}"


# docs/performance.md: its figures are those of the run that is kept.


def test_the_targets_it_shows_are_those_of_the_kept_run(root):
    page = (root / "docs" / "performance.md").read_text()
    kept = json.loads((root / "benchmarks" / "results" / "0.1.0.json").read_text())
    reached = [target for target in kept["targets"] if target.get("reached") is not None]
    assert len(reached) >= 12
    for target in reached:
        assert f"| {target['what']} {target['limit']} | {target['reached']:.2f} | {target['verdict']} |" in page


def test_the_files_it_names_exist(root):
    page = (root / "docs" / "performance.md").read_text()
    for path in re.findall(r"`((?:functional|tests|benchmarks)/[\w./]+)`", page) + ["docs/performance.png"]:
        assert (root / path).exists(), path
