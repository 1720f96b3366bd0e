"""docs/: its examples run, the pages show them as they are and say what they say, and every block of code is run."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pullback import functional, parity

FOLDER = Path(__file__).parents[1] / "docs" / "examples"
# The page of accelerators has this one, and its output is each machine's.
MANY = FOLDER / "many_processes.py"
# The page of test suites has these two.
RULES, COSTS = FOLDER / "test_my_rules.py", FOLDER / "what_a_check_costs.py"
# The page of ports has this one.
PORT = FOLDER / "ported_model.py"
EXAMPLES = sorted(path for path in FOLDER.glob("*.py") if path not in (MANY, RULES, COSTS, PORT))


def blocks_of(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


@pytest.fixture
def page(root) -> str:
    return (root / "docs" / "parity.md").read_text()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_says_what_the_page_says(example, page, tmp_path):
    result = subprocess.run([sys.executable, example], capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert result.returncode == 0, result.stderr
    verdict = result.stdout.rstrip().splitlines()[-1].rstrip()
    _, _, shown = page.partition(f"<!-- output of docs/examples/{example.name} -->")
    assert verdict == shown.split("```")[1].rstrip().splitlines()[-1], result.stdout


def test_the_page_shows_what_make_parity_prints(page, tmp_path):
    """The same rows in the same columns, each with its verdict; the figures are each machine's."""
    _, _, rest = page.partition("<!-- output of pullback parity --source sample -->\n```\n")
    shown = rest.split("\n```")[0]
    command = [sys.executable, "-m", "pullback.parity", "--source", "sample"]
    # A copy: readline, which pytest imports, puts a COLUMNS into the process that os.environ does not have.
    env = dict(os.environ)
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=600)
    assert done.returncode == 0, done.stderr

    def rows(text: str) -> set[tuple[str, str, str]]:
        lines = text.splitlines()
        head = next(line for line in lines if line.startswith("leaf "))
        shape, table = head.index("shape"), lines[lines.index(head) + 1 :]
        table = table[: table.index("")]
        return {(line[:shape].strip(), line[shape:].split()[0], line.split()[-1]) for line in table}

    assert len(rows(shown)) == 18 and rows(shown) == rows(done.stdout)
    heads = [
        [line for line in text.splitlines() if line.startswith(("leaf ", "Each row", "max |"))]
        for text in (shown, done.stdout)
    ]
    assert heads[0] == heads[1] and shown.splitlines()[-1] == done.stdout.splitlines()[-1]


def test_the_first_five_minutes_are_as_the_page_has_them(root, tmp_path):
    page = (root / "docs" / "first-five-minutes.md").read_text()
    files = dict(re.findall(r"^`(\w+\.py)`:\n\n```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))
    assert set(files) == {"my_norm.py", "check.py", "test_my_norm.py"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    env = dict(os.environ) | {"COLUMNS": "100"}

    def run(*command: str) -> str:
        command = (sys.executable, *command)
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)
        return done.stdout.rstrip()

    fenced = re.findall(r"^```(\S*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    shown = [text.strip("\n") for language, text in fenced if not language]
    lead, table, wrong, right, tested = shown
    printed = run("check.py")
    # The figures at the worst element are each machine's, and so is the order of rows, which follows them.
    paragraph = re.sub(r"At \[.*?explains\.", "...", " ".join(lead[lead.index("What is wrong") :].split()))
    assert paragraph in re.sub(r"At \[.*?explains\.", "...", " ".join(printed.split())) and "..." in paragraph
    heads = [line for line in table.splitlines() if not line.endswith("FAIL")]
    assert len(heads) == 2 and all(head in printed.splitlines() for head in heads)
    rows = {re.sub(r"  +.*", "", line) for line in table.splitlines() if line.endswith("FAIL")}
    assert len(rows) == 8 and rows == {
        re.sub(r"  +.*", "", each) for each in printed.splitlines() if each.endswith("FAIL")
    }
    assert printed.splitlines()[-1] == wrong

    ((minus, plus),) = re.findall(r"^```diff\n-(.*\n)\+(.*\n)```$", page, re.MULTILINE)
    assert "FAIL: " in run("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_norm.py")
    (tmp_path / "my_norm.py").write_text(files["my_norm.py"].replace(minus, plus))
    assert run("check.py").splitlines()[-1] == right
    assert (
        run("-m", "pytest", "-q", "-p", "no:cacheprovider").splitlines()[-1].split(" in ")[0] == tested.split(" in ")[0]
    )


def examples_on(page: str) -> dict[str, str]:
    return dict(re.findall(r"^`(docs/examples/\w+\.py)`:\n\n```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))


def test_the_page_shows_every_example_as_it_is(root, page):
    shown = examples_on(page)
    assert set(shown) == {f"docs/examples/{example.name}" for example in EXAMPLES}
    for name, text in shown.items():
        assert text == (root / name).read_text(), f"{name} has changed"


def test_the_page_of_ports_shows_its_example_and_what_it_says(root, tmp_path):
    page = (root / "docs" / "port.md").read_text()
    assert examples_on(page) == {"docs/examples/ported_model.py": PORT.read_text()}
    done = subprocess.run([sys.executable, PORT], capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    _, _, shown = page.partition("<!-- output of docs/examples/ported_model.py -->")
    shown = shown.split("```")[1].strip()
    # The figures in the last digit, and how much of a bound is used, are each machine's.
    plain = [
        re.sub(r" +\d+%", " ", re.sub(r"at \[.*?original\.", "", " ".join(text.split())))
        for text in (shown, done.stdout)
    ]
    assert plain[0] == plain[1] and "gelu(approximate=True)" in plain[0]


def test_the_page_links_to_files_that_exist(root, page):
    links = re.findall(r"\]\((\.\./[^)#]+)\)", page)
    assert links
    assert not [link for link in links if not (root / "docs" / link).exists()]


# What parity.md shows before its examples, with names that are the reader's.

YOURS = """
import sys, types
import jax, numpy
my_rule, plain, in_torch = jax.numpy.sinh, lambda x, w: x @ w, lambda x, w: x @ w
my_rule = jax.custom_vjp(plain)
my_rule.defvjp(lambda x, w: (x @ w, (x, w)), lambda kept, y_bar: (y_bar @ kept[1].T, kept[0].T @ y_bar))
x, w = numpy.random.default_rng(0).standard_normal((2, 5, 5), numpy.float32)
sys.modules["my_package"] = types.ModuleType("my_package")
vars(sys.modules["my_package"]).update(my_rule=my_rule, plain=plain, w=w, x=x)
"""


def test_the_blocks_of_parity_run(root, page, tmp_path):
    first, own_probe, in_a_test = [code for code in blocks_of(page) if code not in examples_on(page).values()]
    file = tmp_path / "test_blocks.py"
    file.write_text(f"{YOURS}\n{first}\n{own_probe}\nassert 'bounded by 1' in str(report) and report.ok\n{in_a_test}")
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", file], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


# docs/test-suite.md: five rules, their tests, and what they cost.


@pytest.fixture
def suite(root) -> str:
    return (root / "docs" / "test-suite.md").read_text()


def test_the_page_of_test_suites_shows_the_file_as_it_is(suite):
    *shown, _score = blocks_of(suite)
    assert "\n\n".join(shown) == RULES.read_text()
    assert len(shown) == 6


def test_its_five_tests_pass_with_the_plugin(tmp_path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--parity-report", "reports.json", RULES]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stdout
    reports = json.loads((tmp_path / "reports.json").read_text())["reports"]
    assert [report["ok"] for report in reports] == [True] * 5
    leaves = [{row["leaf"] for row in report["rows"]} for report in reports]
    assert "params['scale']_bar" in leaves[0] and {"y[0]", "y[1]"} <= leaves[4]
    assert "bfloat16[8,32]" in reports[3]["about"]["arguments"]


def test_its_costs_are_printed_by_the_command_that_it_names(suite):
    shown = re.findall(r"<!-- output of docs/examples/what_a_check_costs.py[^>]*-->\n\n```\n(.*?)```", suite, re.DOTALL)
    said = subprocess.run([sys.executable, COSTS], capture_output=True, text=True, cwd=FOLDER, timeout=600).stdout
    names = [line.split()[0] for line in said.splitlines()]
    assert len(names) == 6 and len(shown) == 2
    for block in shown:
        assert [line.split()[0] for line in block.splitlines()] == names


def test_its_last_block_scores_the_test(suite, tmp_path):
    score = blocks_of(suite)[-1]
    env = os.environ | {"PYTHONPATH": str(FOLDER)}
    done = subprocess.run([sys.executable, "-c", score], env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


# docs/index.md and docs/reliability.md say what is said, and held, elsewhere.


def test_the_front_page_shows_a_rule_and_a_report_of_the_readme(root):
    front, readme = ((root / path).read_text() for path in ("docs/index.md", "README.md"))
    fenced = re.findall(r"^```(\S*)\n(.*?)^```$", front, re.DOTALL | re.MULTILINE)
    blocks = [block for language, block in fenced if language in ("python", "")]
    assert len(blocks) == 2
    for block in blocks:
        assert block in readme


def test_each_figure_of_reliability_is_on_the_page_that_it_names(root):
    page = (root / "docs" / "reliability.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| \[[^]]+\]\(([\w-]+\.md)", page, re.MULTILINE)
    assert len(rows) >= 10
    for answer, name in rows:
        page = (root / "docs" / name).read_text()
        figures = re.findall(r"`([^`]+)`", answer)
        assert figures
        assert not [figure for figure in figures if figure not in page], f"{name} says nothing of {answer}"


RUN_ELSEWHERE = {"findings.md": "tests/test_findings.py", "how-it-decides.md": "tests/parity/roundoff/test_registry.py"}
"""Page -> the test that runs its blocks."""
RUN_HERE = {"accelerators.md", "first-five-minutes.md", "index.md", "parity.md", "port.md", "test-suite.md"}


def test_every_page_with_code_has_a_test_that_runs_it(root):
    pages = {path.relative_to(root / "docs").as_posix(): path.read_text() for path in (root / "docs").rglob("*.md")}
    pages = {name: page for name, page in pages.items() if not name.startswith("project/")}
    assert {name for name, page in pages.items() if blocks_of(page)} == RUN_HERE | set(RUN_ELSEWHERE)
    for name, test in RUN_ELSEWHERE.items():
        assert name in (root / test).read_text()


# docs/accelerators.md: what it shows runs, on eight devices of the CPU, and it claims no measurement that is not kept.


@pytest.fixture
def accelerators(root) -> str:
    return (root / "docs" / "accelerators.md").read_text()


def with_eight_devices(*command: str, cwd: Path) -> str:
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True, cwd=cwd, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_of_accelerators_shows_the_program_and_it_trains(accelerators, tmp_path):
    assert examples_on(accelerators) == {"docs/examples/many_processes.py": MANY.read_text()}
    *epochs, last = with_eight_devices(str(MANY), "--source", "sample", cwd=tmp_path).splitlines()
    losses = [float(line.split()[-1]) for line in epochs]
    assert len(losses) == 3 and losses[0] > losses[1] > 0
    assert "8 of 8 devices, 4,000 of 4,000 places" in last


def test_the_code_on_the_page_of_accelerators_runs(accelerators, tmp_path):
    (code,) = [block for block in blocks_of(accelerators) if block != MANY.read_text()]
    check = """
from pullback.functional import forward_and_backward
pixels = ((images[:3001].astype("float32") - 33.3) / 78.6).astype("float32")
start = init_mlp(jax.random.key(0), (784, 64, 1))
want, want_grads, _ = forward_and_backward(start, pixels, labels[:3001].astype("float32"))
print(mesh.size, x.shape[0], int(mask.sum()), int(kept.sum()), abs(float(loss) / float(want) - 1) < 1e-5)
"""
    said = with_eight_devices("-c", code + check, cwd=tmp_path)
    assert said.split() == ["8", "3008", "3001", "3001", "True"]


REFUSED = """
import jax, numpy
from pullback.functional import init_mlp
from pullback.parallel import make_mesh, shard_order, shard_params, sharded_value_and_grad

params, mesh = init_mlp(jax.random.key(0), (784, 50, 1)), make_mesh()
x, targ = numpy.zeros((3001, 784), numpy.float32), numpy.zeros(3001, numpy.float32)
for ask in (
    lambda: make_mesh(16),
    lambda: make_mesh(model=3),
    lambda: shard_params(make_mesh(model=8), params),
    lambda: sharded_value_and_grad(mesh, params, x, targ),
    lambda: shard_order(mesh, 3001, batch=100, seed=0),
):
    try:
        ask()
    except ValueError as error:
        print(error)
"""


def test_what_does_not_fit_is_refused_in_the_words_of_the_page(accelerators, tmp_path):
    said = with_eight_devices("-c", REFUSED, cwd=tmp_path)
    assert len(said.splitlines()) == 5 and f"```\n{said}```\n" in accelerators


def test_what_was_not_measured_on_hardware_is_said(accelerators):
    assert "| TPU | | not measured |" in accelerators


def test_the_page_of_the_gpu_shows_what_is_kept_of_that_run(root):
    """Every line of its blocks was printed on the GPU, and the figures of its sentences are those of the tables."""
    kept = {file.name: file.read_text() for file in (root / "benchmarks" / "results" / "h200").glob("*.txt")}
    printed = {line.rstrip() for text in kept.values() for line in text.splitlines()}
    page = (root / "docs" / "gpu.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 8
    assert {line.rstrip() for block in blocks for line in block.splitlines()} <= printed
    report = (root / "docs" / "parity-gpu.txt").read_text()
    assert "PASS: all 138 leaves" in report and "107 pass" in report and "NVIDIA H200" in report
    epoch = json.loads((root / "benchmarks" / "results" / "h200" / "bench-epoch.json").read_text())
    took = {row["name"]: row["median_ms"] for row in epoch["workloads"]["epoch, batch 64"]}
    assert f"{took['torch loop'] / took['sgd_epoch']:.0f} times" in page
    assert f"{took['jit per step'] / took['sgd_epoch']:.0f} times as fast as a jitted step" in page


@pytest.mark.parametrize("folder", ["docs", "docs/reference"])
def test_the_pages_link_to_files_that_exist(root, folder):
    pages = sorted((root / folder).glob("*.md"))
    assert len(pages) >= 8
    for page in pages:
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        assert not [link for link in links if not (page.parent / link).exists()], page.name


# docs/how-it-decides.md: its constants are those of the sources, and its files are there.


@pytest.fixture
def how(root) -> str:
    return (root / "docs" / "how-it-decides.md").read_text()


def test_the_constants_on_the_page_are_those_of_the_sources(root, how):
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \| ([^|]+) \| (\S+\.py) \|", how, re.MULTILINE)
    assert len(rows) >= 8
    for names, values, path in rows:
        module = importlib.import_module("pullback.parity." + path.removesuffix(".py").replace("/", "."))
        for name, value in zip(re.findall(r"`(\w+)`", names), values.split(", "), strict=True):
            number, _, unit = value.partition(" ")
            assert getattr(module, name) == float(number) * (2.0**-24 if unit == "u(float32)" else 1), name


def test_the_files_on_the_page_exist(root, how):
    paths = re.findall(r"(?<!/)\b((?:roundoff|case|verdict|probes|report)/[\w/]+\.py)", how)
    assert len(set(paths)) >= 12
    assert not [path for path in paths if not (root / "parity" / path).exists()]
    assert (root / "tests" / "parity" / "test_check.py").is_file()


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
