from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback.functional import linear_cross_entropy
from pullback.functional._logit_tiles import Rows, cotangents, row_sums, tiling_of


def test_tiles_of_the_default_size():
    assert tiling_of(8192, 32_000, 2**22, 4) == (1024, 1024, 8, 32)
    assert tiling_of(100, 50_257, 2**22, 4) == (100, 10_112, 1, 5)
    assert tiling_of(1_000_000, 10, 2**22, 4) == (100_032, 10, 10, 1)
    assert tiling_of(0, 10, 2**22, 4) == (0, 10, 1, 1)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 5000), st.integers(1, 5000), st.integers(1, 2**20), st.sampled_from([4, 8]))
def test_tiles_cover_all_and_are_no_larger(n, classes, tile_bytes, itemsize):
    tiling = tiling_of(n, classes, tile_bytes, itemsize)
    assert tiling.rows * tiling.classes * itemsize <= max(tile_bytes, itemsize)
    for size, length, tiles in ((n, tiling.rows, tiling.row_tiles), (classes, tiling.classes, tiling.class_tiles)):
        assert length <= size and (tiles - 1) * length < max(size, 1) <= max(tiles * length, 1)


@pytest.mark.parametrize(
    ("n", "classes", "elements", "with_b"),
    [(5, 8, 1, True), (5, 8, 10, False), (3, 16, 15, True), (7, 2, 5, False), (4, 4, 100, True)],
)
def test_any_tile_counts_each_logit_once(n, classes, elements, with_b):
    """Of whole numbers all sums are exact, whatever the tiles are."""
    rng = np.random.default_rng(0)
    x, w, b = (np.asarray(rng.integers(-3, 4, shape), np.float32) for shape in ((n, 2), (2, classes), (classes,)))
    labels, counts = np.asarray(rng.integers(0, classes, n), np.int32), rng.random(n) < 0.8
    row_bar = np.asarray(rng.integers(-3, 4, n), np.float32)
    tiling = tiling_of(n, classes, 4 * elements, 4)
    rows, bias = Rows(*map(jnp.asarray, (x, labels, counts))), jnp.asarray(b) if with_b else None
    z = np.where(counts[:, None], x, 0) @ w + (b if with_b else 0)
    sums: Any = row_sums(rows, jnp.asarray(w), bias, tiling=tiling, all_logits=True)
    np.testing.assert_array_equal(sums.peak, z.max(1))
    np.testing.assert_array_equal(sums.at_label, z[np.arange(n), labels])
    np.testing.assert_array_equal(sums.all_logits, z.sum(1))
    np.testing.assert_allclose(sums.total, np.exp(z - z.max(1, keepdims=True)).sum(1), rtol=1e-6)
    # A logsumexp of infinity: every probability is 0. Half of what is aimed at is spread over 2, 4, 8 or 16 classes.
    bars = cotangents(rows, jnp.asarray(w), bias, jnp.full(n, jnp.inf), jnp.asarray(row_bar), 0.5, tiling)
    aim = (labels[:, None] == np.arange(classes)) / 2 + 0.5 / classes
    z_bar = -(row_bar * counts)[:, None] * aim
    for got, want in zip(bars, (z_bar @ w.T, x.T @ z_bar, z_bar.sum(0) if with_b else None), strict=True):
        if want is None:
            assert got is None
        else:
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("classes", [1, 2, 50])
def test_one_class_has_all_the_probability(classes):
    x, w = jnp.ones((3, 2)), jnp.full((2, classes), 5.0)
    loss: Any = linear_cross_entropy(x, w, None, jnp.zeros(3, jnp.int32), tile_bytes=16)
    np.testing.assert_allclose(loss, np.log(classes), rtol=1e-6)
