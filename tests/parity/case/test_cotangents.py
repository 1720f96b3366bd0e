import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.case.cotangents import DRAWN, NAMES, draw_cotangents, given_cotangents

DTYPES = [np.float64, np.float32, np.float16, jnp.bfloat16]


def outputs(dtype, *shapes):
    return [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", DTYPES)
def test_drawn(dtype):
    with jax.enable_x64(True):
        (drawn,) = draw_cotangents(outputs(dtype, (40, 50)), seed=0)
    assert drawn.dtype == dtype and drawn.shape == (5, 40, 50)
    c1, c2, both, ones, zeros = drawn.astype(np.float64)
    np.testing.assert_array_equal(both, c1 + 2 * c2)  # exactly, in every dtype
    assert (ones == 1).all() and (zeros == 0).all()
    assert np.abs(c1).max() <= 4 and np.abs(c2).max() <= 4
    assert c1.min() < -3.5 and c1.max() > 3.5 and not np.array_equal(c1, c2)
    # In an arithmetic of fewer bits they would be others. (Of float16's 11 bits they use 8, as many as bfloat16 has.)
    if dtype in (np.float64, np.float32):
        assert (c1 != c1.astype(jnp.bfloat16).astype(np.float64)).mean() > 0.25


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_drawn_for_complex_outputs(dtype):
    with jax.enable_x64(True):
        (drawn,) = draw_cotangents(outputs(dtype, (40, 50)), seed=0)
    assert drawn.dtype == dtype and drawn.shape == (5, 40, 50)
    c1, c2, both, ones, zeros = drawn
    np.testing.assert_array_equal(both, c1 + 2 * c2)
    assert (ones == 1).all() and (zeros == 0).all()
    for c in (c1, c2):
        for part in (c.real, c.imag):
            assert part.min() < -3.5 and part.max() > 3.5 and np.abs(part).max() <= 4
        assert not np.array_equal(c.real, c.imag)


def test_a_report_counts_them_as_they_are_drawn():
    (drawn,) = draw_cotangents(outputs(np.float32, (2,)), seed=0)
    assert DRAWN.split()[-2] == f"c{len(drawn) - 1}" and NAMES[len(drawn) - 1] == DRAWN.split()[-1]
    np.testing.assert_array_equal(drawn[2], drawn[0] + 2 * drawn[1])
    assert NAMES[2] == "c0 + 2 c1" and f"c2 = {NAMES[2]}" in DRAWN and len(NAMES) == len(drawn) + 1  # and yours


def test_each_output_has_cotangents_of_its_own():
    first, second, scalar = draw_cotangents(outputs(np.float32, (3, 2), (3, 2), ()), seed=0)
    assert not np.array_equal(first, second) and scalar.shape == (5,)


def test_of_a_scalars_cotangents_one_is_positive_and_one_negative():
    for seed in range(20):
        (drawn,) = draw_cotangents(outputs(np.float32, ()), seed)
        assert drawn[0] * drawn[1] <= 0


def test_seeds():
    one, same, other = (draw_cotangents(outputs(np.float32, (4,)), seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


G = np.arange(6, dtype=np.float32).reshape(2, 3)
SINGLE = jax.ShapeDtypeStruct((2, 3), np.float32)
TREE = {
    "loss": jax.ShapeDtypeStruct((), np.float32),
    "aux": (jax.ShapeDtypeStruct((2, 3), jnp.bfloat16), jax.ShapeDtypeStruct((), np.int32)),
}


@pytest.mark.parametrize("given", [G, [G], (G,), jnp.asarray(G), G.astype(np.float64), G.astype(int), G.T.copy().T])
def test_given_for_a_single_output(given):
    (found,) = given_cotangents(given, SINGLE)
    assert isinstance(found, np.ndarray) and found.dtype == np.float32
    np.testing.assert_array_equal(found, G)


def test_given_for_a_scalar():
    for given in (2.5, 2, np.float32(2.5), jnp.asarray(2.5)):
        (found,) = given_cotangents(given, jax.ShapeDtypeStruct((), np.float32))
        assert found.shape == () and found.dtype == np.float32 and found == np.float32(given)


def test_given_for_a_tree_of_outputs_in_their_order_and_dtypes():
    aux, loss = given_cotangents({"loss": -3.0, "aux": (G, 0)}, TREE)
    assert aux.dtype == jnp.bfloat16 and loss.dtype == np.float32
    np.testing.assert_array_equal(aux.astype(np.float32), G)
    assert loss == -3


@pytest.mark.parametrize("place", [0, np.zeros((7, 7)), "what you like", None, np.nan])
def test_what_stands_in_the_place_of_an_integer_output_is_ignored(place):
    assert len(given_cotangents({"loss": 1.0, "aux": (G, place)}, TREE)) == 2


@pytest.mark.parametrize(
    "given", [None, {}, {"loss": 1.0}, {"loss": 1.0, "aux": [G, 0]}, {"loss": 1.0, "aux": (G,)}, [1.0, G, 0], G]
)
def test_another_structure(given):
    with pytest.raises(ValueError) as caught:
        given_cotangents(given, TREE)
    assert str(caught.value) == (
        "cotangents must have one array for each output (y['aux'][0], y['aux'][1], y['loss']), in the outputs' tree"
    )


@pytest.mark.parametrize("given", [None, (), (G, G), {"a": G, "b": G}])
def test_not_one_for_a_single_output(given):
    with pytest.raises(ValueError) as caught:
        given_cotangents(given, SINGLE)
    assert str(caught.value) == "cotangents must have one array for each output (y), in the outputs' tree"


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (G[0], "float32[3]"),
        (G.T, "float32[3, 2]"),
        (1.0, "float64[]"),
        (G.astype(complex), "complex128[2, 3]"),
        (G.astype(str), "<U32[2, 3]"),
        (G.astype(object), "object[2, 3]"),
    ],
)
def test_another_shape_or_no_numbers(given, got):
    with pytest.raises(ValueError) as caught:
        given_cotangents(given, SINGLE)
    assert str(caught.value) == f"cotangents: that of y must be float32[2, 3]; got {got}"


def test_given_for_a_complex_output():
    output = jax.ShapeDtypeStruct((2, 3), np.complex64)
    for given in (G, G + 1j * G):
        (found,) = given_cotangents(given, output)
        np.testing.assert_array_equal(found, given.astype(np.complex64), strict=True)
    with pytest.raises(ValueError, match=r"that of y must be complex64\[2, 3\]; got complex128\[2\]$"):
        given_cotangents(np.ones(2, complex), output)
    with pytest.raises(ValueError, match="holds a number that is not finite$"):
        given_cotangents(np.where(G == 4, complex(0, np.nan), G), output)
    with pytest.raises(ValueError, match="holds a number that does not fit in complex64$"):
        given_cotangents(np.where(G == 4, np.complex128(1e39j), G), output)


def test_another_shape_in_a_tree_names_the_output():
    with pytest.raises(
        ValueError, match=r"cotangents: that of y\['aux'\]\[0\] must be bfloat16\[2, 3\]; got float32\[3"
    ):
        given_cotangents({"loss": 1.0, "aux": (G[0], 0)}, TREE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(value):
    with pytest.raises(ValueError) as caught:
        given_cotangents(np.where(G == 4, value, G), SINGLE)
    assert str(caught.value) == "cotangents: that of y holds a number that is not finite"


@pytest.mark.parametrize(("dtype", "large"), [(np.float16, 1e5), (jnp.bfloat16, 3.4e38), (np.float32, 1e39)])
def test_too_large_for_the_outputs_dtype(dtype, large):
    output = jax.ShapeDtypeStruct((2, 3), dtype)
    with pytest.raises(ValueError) as caught:
        given_cotangents(np.where(G == 4, large, G.astype(np.float64)), output)
    assert str(caught.value) == f"cotangents: that of y holds a number that does not fit in {np.dtype(dtype).name}"
