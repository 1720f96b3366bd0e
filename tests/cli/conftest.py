"""The command, run in this process, and a module of rules in a folder of the user's own."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

RULES = """
import jax
import numpy as np

def plain(x, scale=1.0):
    return scale * x * x

@jax.custom_vjp
def right(x, scale=1.0):
    return scale * x * x

def bwd(residuals, y_bar):
    x, scale = residuals
    return 2 * scale * x * y_bar, (x * x * y_bar).sum()

right.defvjp(lambda x, scale: (scale * x * x, (x, scale)), bwd)

@jax.custom_vjp
def wrong(x):
    return x * x

wrong.defvjp(lambda x: (x * x, x), lambda x, y_bar: (x * y_bar,))

X = np.arange(1, 5, dtype=np.float32)
ARGS = (X,)
LIST = [X]
PAIR = ((X,), {"scale": 3.0})
NUMBER = 3

def example():
    return ARGS

def broken():
    return 1 / 0
"""


@pytest.fixture(scope="session")
def rules_text() -> str:
    return RULES


@pytest.fixture
def rules(tmp_path, monkeypatch, rules_text) -> Iterator[Path]:
    """The current folder of a user who has `my_rules.py` in it."""
    (tmp_path / "my_rules.py").write_text(rules_text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])  # the command adds the current folder
    yield tmp_path
    sys.modules.pop("my_rules", None)


@pytest.fixture
def run() -> Callable[..., Result]:
    """`pullback` with these arguments."""
    from pullback.cli.app import app

    def run(*args: str) -> Result:
        result = CliRunner().invoke(app, list(args), env={"COLUMNS": "200"})
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run
