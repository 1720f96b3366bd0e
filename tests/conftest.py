"""Strict where users may be lax: shapes are checked, promotion of dtypes or ranks is an error, warnings are errors."""

import os
from pathlib import Path

import jax
import jaxtyping
import pytest

# Before anything imports pullback: the hook checks every annotated shape in it at call time.
hook = jaxtyping.install_import_hook("pullback", "beartype.beartype")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).parents[1]


@pytest.fixture
def as_a_user():
    """Shape annotations off, as they are for users: our own error must then speak."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def root() -> Path:
    """The checkout, for tests of what it holds beside the package."""
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("no checkout around these tests")
    return ROOT


@pytest.fixture(scope="session")
def full_mnist() -> Path:
    """The cache, where it holds the full MNIST."""
    from pullback.data import DataError, cache_dir, load_mnist

    try:
        load_mnist("cache")
    except DataError as error:
        pytest.skip(f"needs the full MNIST: {error}")
    return cache_dir()


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own, with nothing in it."""
    monkeypatch.setitem(os.environ, "PULLBACK_DATA_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"
