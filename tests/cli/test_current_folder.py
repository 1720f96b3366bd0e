"""No command imports from the current folder: it is full of files that have the names of what commands import."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

INSTALLED = (
    *("torch", "optax", "numpy", "jax", "jaxlib", "rich", "typer", "click", "matplotlib", "scipy", "pooch", "tqdm"),
    *("requests", "ml_dtypes", "pygments", "jax_plugins", "sitecustomize", "usercustomize", "sympy", "triton", "chex"),
)
FOR_PYTHON_DASH_M = {
    *("importlib", "warnings", "contextlib", "collections", "keyword", "operator", "reprlib", "functools", "types"),
    *("pkgutil", "weakref", "enum", "abc", "io", "os", "runpy", "tokenize", "token", "re", "copyreg", "linecache"),
}
"""What Python itself may import to find the module of `python -m`, before anything of ours runs."""
TRAP = "open({file!r}, 'a').write(__name__ + chr(10))\nraise SystemExit('a file of the current folder was imported')\n"
RULES = """
import numpy as np
import helper_of_mine

def rule(x):
    return helper_of_mine.half(x) * x * x

ARGS = (np.ones(3, np.float32),)
"""


@pytest.fixture
def trapped(tmp_path):
    """The current folder, the names that were imported from it, and a command's result."""
    folder = tmp_path / "here"
    folder.mkdir()
    stdlib = {name for name in sys.stdlib_module_names if not name.startswith("_")}
    for name in {*INSTALLED, *stdlib}:
        (folder / f"{name}.py").write_text(TRAP.format(file=str(tmp_path / "imported")))
    (folder / "my_rules.py").write_text(RULES)
    (folder / "helper_of_mine.py").write_text("def half(x):\n    return x / 2\n")

    def run(*command, code=0, without=()):
        for name in without:
            (folder / f"{name}.py").unlink(missing_ok=True)
        env = {key: value for key, value in os.environ.items() if key not in ("PYTHONSAFEPATH", "PYTHONPATH")}
        env |= {"JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
        imported = (tmp_path / "imported").read_text().split() if (tmp_path / "imported").exists() else []
        assert imported == [] and done.returncode == code, (imported, done.stderr[-2000:])
        return done

    return run


PULLBACK = str(Path(sysconfig.get_path("scripts")) / "pullback")
MODULE = (sys.executable, "-m", "pullback")
SMALL = ("--batch-size", "8", "--hidden", "4", "--source", "sample")
RULE = ("--rule", "my_rules:rule", "--args", "my_rules:ARGS", "--checks", "values")


COMMANDS = [
    ("--version",),
    ("data", "--source", "sample"),
    ("parity", *SMALL, "--html", "page.html"),
    ("parity", *RULE),
]


@pytest.fixture(scope="session")
def command():
    if not Path(PULLBACK).exists():
        pytest.skip(f"there is no {PULLBACK}")
    return PULLBACK


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_the_command(trapped, command, arguments):
    trapped(command, *arguments)


@pytest.mark.parametrize("arguments", COMMANDS[1:2], ids=" ".join)
def test_python_dash_m(trapped, arguments):
    trapped(*MODULE, *arguments, without=FOR_PYTHON_DASH_M)


def test_python_dash_m_of_parity(trapped):
    """jax is imported before the command is reached."""
    trapped(sys.executable, "-m", "pullback.parity", "--help", without=FOR_PYTHON_DASH_M)


def test_python_dash_p_leaves_nothing_to_the_folder(trapped):
    trapped(sys.executable, "-P", "-m", "pullback", "data", "--source", "sample")


def test_a_replay(trapped, command, tmp_path):
    wrong = tmp_path / "here" / "my_rules.py"
    wrong.write_text(
        RULES + "\nimport jax\nrule = jax.custom_vjp(rule)\nrule.defvjp(lambda x: (x, x), lambda x, g: (g,))\n"
    )
    trapped(command, "parity", *RULE, code=1)
    refused = trapped(command, "parity", "--replay", "parity-capsule.npz", code=2)
    assert "--replay parity-capsule.npz --allow my_rules" in refused.stderr
    trapped(command, "parity", "--replay", "parity-capsule.npz", "--allow", "my_rules", code=1)


def test_bench_with_its_worker_and_what_that_starts(trapped, command):
    for package in ("torch", "optax", "matplotlib"):
        pytest.importorskip(package)
    trapped(command, "bench", "--quick", "--rounds", "1", "--workload", "cold", "--plot", "plot.png")


def test_a_module_of_the_users_that_is_hidden_is_said(trapped, command, tmp_path):
    (tmp_path / "here" / "rich.py").write_text("def rule(x):\n    return x\n")
    done = trapped(command, "parity", "--rule", "rich:rule", "--args", "my_rules:ARGS", code=2)
    assert "--rule: there is no rule in rich (rich is " in done.stderr
    assert "what is installed comes before rich.py in the current folder; rename yours)" in done.stderr
