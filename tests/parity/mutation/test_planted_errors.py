import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import lin, mse, relu
from pullback.parity.mutation.planted_errors import SPOIL_COTANGENT, plant_all

f32 = functools.partial(np.array, dtype=np.float32)

RNG = np.random.default_rng(0)
X = f32(RNG.integers(-8, 9, (3, 3)))
W = f32(RNG.integers(-8, 9, (3, 3)))
B = f32([1, 2, 3])


def planted(flat, *diff, names="xwb"):
    return dict(plant_all(flat, list(names[: len(diff)]), diff))


def product(x, w):
    return x @ w


def bars(fun, *diff, y_bar=None):
    """Value and cotangents."""
    y, pullback = jax.vjp(fun, *map(jnp.asarray, diff))
    return y, pullback(jnp.ones_like(y) if y_bar is None else jnp.asarray(y_bar))


@pytest.fixture(scope="module")
def of_product():
    return planted(product, X, W)


def test_there_are_enough_kinds():
    names = planted(lin, X, W, B)
    kinds = {re.sub(r"[xwb]_bar|of [xwb]$", "", name) for name in names}
    assert len(kinds) >= 30 and len(names) >= 60


def test_there_are_enough_kinds_for_other_shapes():
    for names in (planted(lin, X[:2], W[:, :2], B[:2]), planted(relu, X[:2])):
        assert len({name.split("_bar ")[-1] for name in names}) >= 30
    assert len(planted(mse, X[0], W[0])) >= 30


def test_only_what_makes_sense_is_planted():
    names = planted(lambda x, w: x * w[0], X[:2], B)
    assert "x_bar transposed" not in names and "w_bar last column dropped" not in names
    assert "x_bar 1 at 0" in names and "w_bar 1 at 0" not in names
    assert "x_bar and w_bar swapped" not in names
    assert "x_bar and w_bar swapped" in planted(product, X, W)
    assert "x_bar transposed" in planted(product, X, W)


def test_a_scalar_has_no_rows():
    names = planted(jnp.sin, f32(1))
    assert not [name for name in names if "row" in name or "column" in name or "element dropped" in name]
    assert "x_bar doubled" in names


def test_what_bfloat16_cannot_show_is_not_planted_in_it():
    names = planted(product, X.astype(jnp.bfloat16), W.astype(jnp.bfloat16))
    assert not [name for name in names if "bfloat16" in name]
    assert [name for name in planted(product, X, W) if "bfloat16" in name]


def test_names_are_distinct(of_product):
    assert len(of_product) == len(list(plant_all(product, ["x", "w"], (X, W))))


def test_the_primal_stays_right(of_product):
    for name, mutant in of_product.items():
        np.testing.assert_array_equal(mutant(X, W), X @ W, err_msg=name)


def test_only_the_input_that_is_named_is_spoilt(of_product):
    y_bar = f32(RNG.integers(-8, 9, (3, 3)))
    y, (x_bar, w_bar) = bars(product, X, W, y_bar=y_bar)
    for kind in SPOIL_COTANGENT:
        got_y, (got_x, got_w) = bars(of_product[f"x_bar {kind}"], X, W, y_bar=y_bar)
        np.testing.assert_array_equal(got_y, y, err_msg=kind)
        np.testing.assert_array_equal(got_w, w_bar, err_msg=kind)
        if kind != "rounded to bfloat16":  # small whole numbers are exact in it
            assert got_x.dtype != x_bar.dtype or not np.array_equal(got_x, x_bar), kind


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("doubled", lambda a: 2 * a),
        ("sign flipped", lambda a: -a),
        ("None", lambda a: 0 * a),
        ("transposed", np.transpose),
        ("first row dropped", lambda a: a * f32([[0], [1], [1]])),
        ("last row dropped", lambda a: a * f32([[1], [1], [0]])),
        ("last column dropped", lambda a: a * f32([[1, 1, 0]])),
        ("shifted by a row", lambda a: np.roll(a, 1, 0)),
        ("columns reversed", lambda a: a[:, ::-1]),
        ("a sum over rows for a mean", lambda a: 3 * a),
    ],
)
def test_what_is_done_to_a_cotangent(of_product, name, spoil):
    y_bar = f32(RNG.integers(-4, 5, (3, 3)))
    want = bars(product, X, W, y_bar=y_bar)[1][1]
    got = bars(of_product[f"w_bar {name}"], X, W, y_bar=y_bar)[1][1]
    np.testing.assert_array_equal(got, spoil(np.asarray(want)))


def test_what_is_done_to_the_incoming_cotangent(of_product):
    y_bar = f32([[1, -2, 0], [4, 0, 1], [0, 0, -8]])
    for name, seen in {
        "ignores the cotangent": np.ones_like(y_bar),
        "takes the cotangent's sign only": np.sign(y_bar),
        "takes the cotangent squared": y_bar**2,
    }.items():
        got = bars(of_product[name], X, W, y_bar=y_bar)[1]
        np.testing.assert_array_equal(got[0], seen @ W.T, err_msg=name)
        np.testing.assert_array_equal(got[1], X.T @ seen, err_msg=name)


def test_what_is_done_to_a_residual(of_product):
    for name, kept in {"residual of zeros of w": 0 * W, "residual's sign lost of w": np.abs(W)}.items():
        x_bar, w_bar = bars(of_product[name], X, W)[1]
        np.testing.assert_array_equal(x_bar, np.ones_like(X) @ kept.T, err_msg=name)
        np.testing.assert_array_equal(w_bar, X.T @ np.ones_like(X), err_msg=name)


def test_what_is_done_to_the_forward_rule(of_product):
    y = bars(of_product["forward with the first element off"], X, W)[0]
    want = X @ W
    want[0, 0] += f32(0.01)
    np.testing.assert_array_equal(y, want)


def test_cotangents_swapped(of_product):
    x_bar, w_bar = bars(product, X, W)[1]
    got = bars(of_product["x_bar and w_bar swapped"], X, W)[1]
    np.testing.assert_array_equal(got, [w_bar, x_bar])


def test_the_other_convention_at_a_kink():
    x = f32([[0, 1, -1]])
    got = bars(planted(relu, x)["x_bar 1 at 0"], x)[1]
    np.testing.assert_array_equal(got[0], [[1, 1, 0]])
    assert bars(relu, x)[1][0][0, 0] == 0


def test_every_one_of_them_runs_for_several_outputs():
    for name, mutant in planted(lambda x, w: {"a": x @ w, "b": x + w}, X, W).items():
        y, pullback = jax.vjp(mutant, jnp.asarray(X), jnp.asarray(W))
        assert len(pullback(y)) == 2, name


def test_every_one_of_them_runs_with_an_integer_output():
    for _name, mutant in planted(lambda x: (x * x, jnp.argmax(x)), X).items():
        y, pullback = jax.vjp(lambda x, mutant=mutant: mutant(x)[0], jnp.asarray(X))
        pullback(y)
