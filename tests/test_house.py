"""The house: what may import what, and what the wheel holds."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

# Arrows point one way. Beside the standard library, each folder may import:
MAY_IMPORT = {
    "functional": {"jax", "jaxtyping"},
    "parallel": {"jax", "numpy", "pullback.functional"},
    "data": {"numpy", "pooch", "requests", "tqdm"},
    "parity": {
        "jax",
        "matplotlib",
        "numpy",
        "rich",
        "torch",
        "pullback.functional",
        "pullback.data",
        "pullback.parallel",
    },
    "cli": {"jax", "rich", "typer", "pullback.data", "pullback.functional", "pullback.parallel", "pullback.parity"},
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
    assert [path.name for path in files if any(n.split(".")[0] == "torch" for n in imports(path))] == ["in_torch.py"]


def test_importing_the_package_does_not_import_torch():
    modules = ", ".join(f"pullback.{folder}" for folder in MAY_IMPORT)
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_files_stay_readable_in_one_sitting(root):
    for folder in (*MAY_IMPORT, "benchmarks"):
        for path in (root / folder).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 250, f"{path.name} is two ideas by now"


def test_every_source_file_has_its_test(root):
    for folder in MAY_IMPORT:
        for path in (root / folder).rglob("*.py"):
            test = root / "tests" / path.relative_to(root).parent / f"test_{path.stem.lstrip('_')}.py"
            assert path.stem in ("__init__", "__main__", "_typing") or test.is_file(), f"{test} is missing"


def test_the_wheel_holds_one_name(root, tmp_path):
    options = ["--no-deps", "--no-build-isolation", "--quiet"]
    tracked = [
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
    assert "pullback/__init__.py" not in names, "a namespace"
    for folder in (*MAY_IMPORT, "functional/experimental", "benchmarks"):
        assert f"pullback/{folder}/__init__.py" in names and f"pullback/{folder}/py.typed" in names
    assert "pullback/data/sample.npz" in names and "pullback/data/SAMPLE-LICENSE.md" in names
    assert not [name for name in names if Path(name).name.startswith(("test_", "conftest"))]
    assert wheel.stat().st_size < 1_200_000
