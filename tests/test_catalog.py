"""benchmarks/catalog: every function runs on its inputs, has a gradient there, and is what its counterpart is."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("optax")
pytest.importorskip("equinox")

from pullback.benchmarks import catalog  # noqa: E402
from pullback.benchmarks.catalog.entry import Entry, entry, near, near_ties, normal  # noqa: E402

AREAS = {area.__name__.rpartition(".")[2]: area for area in catalog.AREAS}
# What is compiled here runs once.
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@pytest.fixture(autouse=True)
def as_its_users_have_it():
    """Other people's functions promote dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@functools.cache
def values_and_gradients(area: str, dtype: str) -> list[tuple[Entry, list[Any], list[Any]]]:
    """Of each entry that runs in dtype, with cotangents from 1 to 2. All in one program, which compiles faster."""
    each = [one for one in AREAS[area].entries() if dtype in one.dtypes]
    args = [[jnp.asarray(a, dtype if a.dtype == np.float32 else None) for a in one.inputs["ordinary"]] for one in each]
    spots = [[k for k, a in enumerate(row) if jnp.issubdtype(a.dtype, jnp.floating)] for row in args]

    def program(floats: list[list[Any]]) -> Any:
        """Of the floating-point arguments: jit would make tracers of shapes and indices too."""
        results = []
        for one, row, at, given in zip(each, args, spots, floats, strict=True):

            def fun(*given: Any, one: Entry = one, row: list[Any] = row, at: list[int] = at) -> list[Any]:
                full = {**dict(enumerate(row)), **dict(zip(at, given, strict=True))}
                return jax.tree.leaves(one.fun(*full.values()))

            y, pullback = jax.vjp(fun, *given)
            results.append((y, pullback([jnp.linspace(1, 2, a.size, dtype=a.dtype).reshape(a.shape) for a in y])))
        return results

    floats = [[row[k] for k in at] for row, at in zip(args, spots, strict=True)]
    computed = jax.jit(program, compiler_options=QUICKLY)(floats)
    return [(one, y, bars) for one, (y, bars) in zip(each, computed, strict=True)]


def test_there_are_many_and_no_name_stands_twice():
    found = catalog.entries()
    assert len(found) >= 170 and len({each.name for each in found}) == len(found)
    assert sum(each.torch is not None for each in found) >= len(found) / 2
    for each in found:
        assert "ordinary" in each.inputs and 2 <= len(each.inputs) <= 5, each.name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("area", AREAS)
def test_values_and_gradients_are_finite_and_not_all_zero(area, dtype):
    for one, y, bars in values_and_gradients(area, dtype):
        assert y and bars, one.name
        for leaf in (*y, *bars):
            assert np.isfinite(np.asarray(leaf, np.float32)).all(), one.name
        assert any(np.asarray(bar, np.float32).any() for bar in bars), one.name


@pytest.mark.parametrize("area", AREAS)
def test_torch_has_the_same_values(area):
    for one, y, _ in values_and_gradients(area, "float32"):
        if one.torch is not None:
            got = one.torch(*map(torch.tensor, one.inputs["ordinary"]))
            for ours, theirs in zip(y, got if isinstance(got, tuple) else (got,), strict=True):
                np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-3, atol=1e-5, err_msg=one.name)


def test_an_entry_does_not_depend_on_others_nor_a_kind_on_other_kinds():
    one = entry("f", jnp.sin, ordinary=normal(), near_kinks=near(0))
    other = entry("f", jnp.sin, near_kinks=near(0), large=normal(), ordinary=normal())
    for kind in ("ordinary", "near kinks"):
        np.testing.assert_array_equal(one.inputs[kind][0], other.inputs[kind][0])
    assert (one.inputs["ordinary"][0] != entry("g", jnp.sin, ordinary=normal()).inputs["ordinary"][0]).any()


def test_what_is_near_is_never_on_it():
    rng = np.random.default_rng(0)
    beside, ties = near(1, 2)(rng), np.sort(near_ties()(rng), axis=-1)
    assert beside.dtype == ties.dtype == np.float32
    assert (beside != np.round(beside)).all() and abs(beside - np.round(beside)).max() < 2e-3
    gaps = np.diff(ties, axis=-1)
    assert gaps.min() > 5e-4 and gaps.max() < 2e-3
