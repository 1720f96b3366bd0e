"""The house: what may import what, and what the wheel holds."""

import ast
import functools
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

# Arrows point one way. Beside the standard library, each folder may import:
MAY_IMPORT = {
    "functional": {"jax", "jaxtyping"},
    "parallel": {"jax", "numpy", "pullback.functional"},
    "data": {"numpy", "requests", "tqdm", "urllib3", "pullback.signals"},
    "parity": {
        "jax",
        "matplotlib",
        "numpy",
        "rich",
        "scipy",
        "torch",
        "pullback.files",
        "pullback.functional",
        "pullback.data",
        "pullback.names",
        "pullback.parallel",
    },
    "cli": {
        *("jax", "rich", "typer", "pullback.files", "pullback.names", "pullback.signals"),
        *("pullback.data", "pullback.functional", "pullback.parallel", "pullback.parity"),
    },
}
# `python -m pullback.parity` is the command, so this one file knows it.
EXCEPTIONS = {
    ("parity/__main__.py", "pullback.cli"),
    ("functional/_check.py", "numpy"),
    ("functional/init.py", "numpy"),
    ("cli/pytest_plugin.py", "pytest"),
}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_arrows_point_one_way(root, folder):
    paths = sorted((root / folder).rglob("*.py"))
    assert paths
    for path in paths:
        for name in imports(path):
            package = ".".join(name.split(".")[: 2 if name.startswith("pullback") else 1])
            if package in sys.stdlib_module_names or (str(path.relative_to(root)), package) in EXCEPTIONS:
                continue
            assert package in MAY_IMPORT[folder], f"{path.relative_to(root)} imports {name}"


def test_torch_is_imported_by_one_file_only(root):
    files = [path for folder in MAY_IMPORT for path in (root / folder).rglob("*.py")]
    found = [path for path in files if any(n.split(".")[0] == "torch" for n in imports(path))]
    assert found == [root / "parity" / "case" / "torch_arrays.py"]


def test_importing_the_package_does_not_import_torch():
    modules = ", ".join(f"pullback.{folder}" for folder in MAY_IMPORT)
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_importing_the_package_writes_no_file_and_asks_no_network():
    """CPython tells its audit hooks of every file that is opened and every name that is looked up."""
    modules = ", ".join(f"pullback.{folder}" for folder in MAY_IMPORT)
    code = f"""
import jax, numpy, rich, typer
import sys
seen = []

def hook(event, args):
    written = event == "open" and (any(c in str(args[1]) for c in "wax+") or (args[2] or 0) & 3)
    if written or event in ("os.mkdir", "os.rename", "os.remove", "socket.connect", "socket.getaddrinfo"):
        seen.append((event, args))

sys.addaudithook(hook)
sys.dont_write_bytecode = True
import {modules}
print(seen)
open(sys.argv[1], "w").close()
print(len(seen))
"""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", code, f"{folder}/seen"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n1\n", "the hook itself must see the one file that is written"


def test_importing_the_ops_takes_little_beyond_jax():
    """At most 0.3 s: the better of two, in fresh processes."""
    timed = "start = time.perf_counter(); import pullback.functional; print(time.perf_counter() - start)"
    code = f"import time, jax, jax.numpy, numpy; {timed}"
    run = functools.partial(subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert min(float(run().stdout) for _ in range(2)) <= 0.3


def test_actions_are_pinned_by_commit(root):
    """A tag can be moved to other code; a commit cannot. The comment says which tag it was."""
    used = [line for file in (root / ".github/workflows").glob("*.yml") for line in file.read_text().splitlines()]
    used = [line.strip() for line in used if "uses:" in line]
    assert len(used) > 5
    assert [line for line in used if not re.fullmatch(r"- uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", line)] == []


def test_the_oldest_versions_that_are_tried_are_those_that_are_allowed(root):
    pins = dict(re.findall(r"^(\w+)==([\d.]+)", (root / ".ci/oldest.txt").read_text(), re.MULTILINE))
    allowed = dict(re.findall(r'"(jax|jaxlib|torch|numpy)>=([\d.]+)"', (root / "pyproject.toml").read_text()))
    assert {name: pin.startswith(allowed[name]) for name, pin in pins.items()} == dict.fromkeys(allowed, True)


def test_files_stay_readable_in_one_sitting(root):
    for folder in (*MAY_IMPORT, "benchmarks"):
        for path in (root / folder).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 250, f"{path.name} is two ideas by now"


def test_every_source_file_has_its_test(root):
    for folder in MAY_IMPORT:
        for path in (root / folder).rglob("*.py"):
            mirrored = root / "tests" / path.relative_to(root).parent
            test = mirrored / f"test_{path.stem.lstrip('_')}.py"
            assert path.stem in ("__init__", "__main__", "_typing") or test.is_file(), f"{test} is missing"


# Inside parity: each room, and each of the public calls, may import those named here and itself.
ROOMS = {
    "roundoff": set(),
    "case": {"roundoff"},
    "verdict": {"roundoff", "case"},
    "probes": {"roundoff", "case", "verdict"},
    "report": {"verdict"},
    "_check": {"roundoff", "case", "verdict", "probes", "report"},
    "mutation": {"case", "verdict", "probes"},
    "capsule": {"_check", "case", "probes", "report", "verdict"},
    "layers": {"case", "roundoff"},
    "weights": {"case", "layers"},
    "hints": {"case", "layers", "weights"},
    "model": {"case", "hints", "layers", "report", "roundoff", "verdict", "weights"},
    "lesson": {"_check", "roundoff", "case", "verdict", "probes", "report"},
    "near": {"case"},
    "state_dict": {"case", "weights"},
}


def rooms_imported(path: Path, parity: Path) -> set[str]:
    """The rooms that a file of parity imports from, itself aside."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = path.relative_to(parity).parts[: -node.level]
            names |= {(*above, *(node.module or alias.name).split("."))[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pullback.parity"):
            names.add((node.module or "").split(".")[2])
    return names


def test_the_rooms_of_parity_import_in_one_direction(root):
    """`pytest -s` prints the graph."""
    parity = root / "parity"
    graph: dict[str, set[str]] = {room: set() for room in ROOMS}
    for path in sorted(parity.rglob("*.py")):
        room = path.relative_to(parity).parts[0].removesuffix(".py")
        if room not in ("__init__", "__main__"):
            graph[room] |= rooms_imported(path, parity) - {room}
    for room, imported in graph.items():
        print(f"{room:<11} <- {', '.join(sorted(imported)) or 'nothing'}")
    assert graph.keys() == ROOMS.keys()
    assert {room: imported - ROOMS[room] for room, imported in graph.items() if imported - ROOMS[room]} == {}
    done: set[str] = set()
    while ready := [room for room, imported in graph.items() if room not in done and imported <= done]:
        done.update(ready)
    assert done == graph.keys(), "a circle"


def test_no_file_of_parity_reaches_into_anothers_private_names(root):
    for path in (root / "parity").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                private = [alias.name for alias in node.names if alias.name.startswith("_")]
                assert not private, f"{path.relative_to(root)} imports {private}"


@pytest.mark.parametrize("name", ["functional", "functional.experimental", "data", "parallel", "parity"])
def test_the_public_surface_is_written_down(name):
    code = f"import json, pullback.{name} as p; print(json.dumps([dir(p), p.__all__, [hasattr(p, n) for n in dir(p)]]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listed, public, there = json.loads(done.stdout)
    assert listed == public == sorted(public) and all(there)


def test_the_package_has_a_version_and_finds_its_parts_when_asked(root, tmp_path):
    code = """
import sys
import pullback
assert dir(pullback) == ["__version__", "data", "functional", "parallel", "parity"], dir(pullback)
assert not {"jax", "torch", "numpy"}.intersection(sys.modules), "importing the package alone imports nothing"
print(pullback.__version__, pullback.parity.check.__name__, pullback.functional.lin.__name__)
try:
    pullback.nothing
except AttributeError as error:
    print(error)
"""
    version = re.search('^version = "(.*)"', (root / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    # In the checkout no folder has the name of the package, so that none is taken for it.
    for folder in (root, tmp_path):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)
        assert done.stderr == ""
        said = f"{version.group(1)} check lin\nmodule 'pullback' has no attribute 'nothing'\n"
        assert done.stdout == said
        done = subprocess.run([sys.executable, "-m", "pullback", "--version"], capture_output=True, cwd=folder)
        assert done.stdout.decode() == f"pullback {version.group(1)}\n"


def test_parity_works_with_jax_and_numpy_alone():
    """Whoever installs no extra checks a rule all the same; what needs an extra says which."""
    code = """
import importlib.util, sys
real = importlib.util.find_spec
sys.modules.update(dict.fromkeys(["torch", "rich", "typer", "matplotlib", "requests"]))
importlib.util.find_spec = lambda name, *more: None if sys.modules.get(name, 0) is None else real(name, *more)
"""
    text = (Path(__file__).parents[1] / ".ci" / "bare.py").read_text()
    done = subprocess.run([sys.executable, "-c", code + text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "bare: FAIL" in done.stdout


def test_no_module_of_parity_has_the_name_of_a_public_function(root):
    from pullback import parity

    modules = {path.stem for path in (root / "parity").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not modules.intersection(parity.__all__)
    for path in (root / "parity").rglob("*.py"):
        defined = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
        assert path.stem not in defined, f"{path.relative_to(root)} has the name of a function that it holds"


def test_the_wheel_holds_one_name(root, tmp_path):
    options = ["--no-deps", "--no-build-isolation", "--quiet"]
    tracked = [
        "package",
        "functional",
        "parallel",
        "data",
        "parity",
        "cli",
        "benchmarks",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    ]
    (tmp_path / "src").mkdir()
    subprocess.run(["cp", "-r", *(str(root / name) for name in tracked), str(tmp_path / "src")], check=True)
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "-w", tmp_path, tmp_path / "src"], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"pullback"}
    assert {f"pullback/{path.name}" for path in (root / "package").glob("*.*")} < set(names)
    for folder in (*MAY_IMPORT, "functional/experimental", "benchmarks"):
        assert f"pullback/{folder}/__init__.py" in names and f"pullback/{folder}/py.typed" in names
        sources = {f"pullback/{path.relative_to(root)}" for path in (root / folder).rglob("*.py")}
        assert not sources.difference(names)
    assert "pullback/data/sample.npz" in names and "pullback/data/SAMPLE-LICENSE.md" in names
    assert not [name for name in names if Path(name).name.startswith(("test_", "conftest"))]
    packed = {info.filename: info.compress_size for info in zipfile.ZipFile(wheel).infolist()}
    assert packed.pop("pullback/data/sample.npz") < 900_000
    assert max(packed.values()) < 20_000 and wheel.stat().st_size < 1_500_000, "the sample is the one large file"
