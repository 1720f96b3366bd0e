"""The README is run, as it stands, block by block, and its figures are those of the documents that it names."""

import os
import re
import subprocess
import sys

import pytest

BLOCKS = {"the wrong rule": 0, "in a test": 1, "a gradient": 2}


@pytest.fixture
def text(root) -> str:
    return (root / "README.md").read_text()


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def run(block: str, tmp_path, *command: str) -> str:
    script = tmp_path / "test_readme_block.py"
    script.write_text(block)
    # On the sample, as on a machine with no network.
    env = os.environ | {"PULLBACK_DATA_DIR": str(tmp_path), "HTTPS_PROXY": "http://127.0.0.1:9"}
    command = (sys.executable, *command, str(script))
    result = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_wrong_rule_is_found_as_shown(text, tmp_path):
    printed = run(python_blocks(text)[BLOCKS["the wrong rule"]], tmp_path)
    (shown,) = re.findall(r"^```\n(What is wrong:.*?)\n\.\.\.\n(FAIL: .*?)\n```", text, re.MULTILINE | re.DOTALL)
    told, verdict = shown
    assert verdict == printed.splitlines()[-1]
    # The element that comes off worst, and its figures, depend on the machine.
    at = r"At \[\d+\], for cotangent (.*?), it is -?[\d.]+, and -?[\d.]+ is right"
    plain = [re.sub(at, r"At", " ".join(each.split())) for each in (told, printed)]
    assert re.sub(r": \de\d times", "", plain[0]) in re.sub(r": \de\d times", "", plain[1])


def test_the_wrong_rule_is_found_without_torch_and_rich(text, tmp_path):
    hidden = "import sys\nsys.modules.update(dict.fromkeys(['torch', 'rich', 'typer', 'matplotlib']))\n"
    assert "Wrong: rule." in run(hidden + python_blocks(text)[BLOCKS["the wrong rule"]], tmp_path)


def test_the_test_passes(text, tmp_path):
    said = run(python_blocks(text)[BLOCKS["in a test"]], tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "1 passed" in said


def test_the_gradient_is_that_of_jax(text, tmp_path):
    check = """
from pullback.functional import mlp_loss
import numpy as np
want = jax.grad(mlp_loss)(params, x, y_train[:64].astype("float32"))
np.testing.assert_allclose(grads[0][0], want[0][0], rtol=1e-5, atol=1e-6)
print(x_bar.shape, float(loss) > 0)
"""
    assert run(python_blocks(text)[BLOCKS["a gradient"]] + check, tmp_path) == "(64, 784) True\n"


def test_every_block_is_run(text):
    assert len(python_blocks(text)) == len(BLOCKS)


def test_the_table_is_that_of_the_measurement(root, text):
    measured = (root / "docs" / "rivals.md").read_text()
    rows = re.findall(r"^\| (\S.*?) \| (\d.*?) \| (\d.*?) \| (?:\S+ / \S+ \| )?([\d.]+) \|$", measured, re.MULTILINE)
    shown = re.findall(r"^\| (\S.*?) \| (\d.*?) \| (\d.*?) \| ([\d.]+) \|$", text, re.MULTILINE)
    assert len(shown) == 5 and set(shown) < set(rows)
    (default,) = [row for row in rows if row[0] == "parity.check"]
    assert f"It takes {default[3]} seconds a rule." in text
    right, wrong = re.findall(r"same (\d+) right rules, and the same (\d+) with", text)[0]
    assert all(f"of {wrong}" in row[1] and f"of {right}" in row[2] for row in shown)


def test_the_survey_and_the_findings_are_as_documented(root, text):
    functions, found = re.findall(r"On (\d+) functions of jax.*?\[(\d+) wrong results\]", text)[0]
    survey = (root / "docs" / "parity.md").read_text()
    assert re.search(rf"^{functions} functions, [\d,]+ checks: 0 right ones called wrong", survey, re.MULTILINE)
    wrong, _, _conventions = (root / "docs" / "findings.md").read_text().partition("## Conventions")
    assert wrong.count("```python") == int(found)


def test_every_link_leads_somewhere(root, text):
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 20
    for link in links:
        path, _, anchor = link.partition("#")
        assert (root / path).exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", (root / path).read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, link


def test_it_is_short(text):
    assert len(text.split()) < 1200
