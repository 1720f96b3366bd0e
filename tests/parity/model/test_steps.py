import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.layers.marks import Place, mark
from pullback.parity.model.steps import ran, walked
from pullback.parity.roundoff.bounded import Rounding

X = np.random.default_rng(0).standard_normal(5).astype(np.float32)
IN, OUT = Place("layer", "in", 0), Place("layer", "out", 0)
EXACT = Rounding(np.float64, inside=False)


def marked(x, scale):
    x = mark(x + 1, "layer", "in", 0, 0)
    return mark(x * scale, "layer", "out", 0, 0) - 3


def test_a_mark_is_met_and_the_originals_value_goes_on():
    closed = jax.make_jaxpr(marked)(X, jnp.float32(2))
    given = {IN: np.full(5, 7.0)}
    walk = walked(closed, (X, np.float32(2)), lambda place, _: given.get(place), EXACT)
    np.testing.assert_allclose(walk.met[IN].value, X.astype(np.float64) + 1)
    np.testing.assert_array_equal(walk.met[OUT].value, 14.0)
    np.testing.assert_array_equal(walk.outputs[0].value, 11.0)
    assert list(walk.met) == [IN, OUT]


def test_the_bound_of_a_step_is_that_of_the_step_alone():
    closed = jax.make_jaxpr(marked)(X, jnp.float32(2))
    rounding = Rounding(np.float32)
    deep = walked(closed, (X, np.float32(2)), lambda place, value: None, rounding)
    alone = walked(closed, (X, np.float32(2)), lambda place, value: value, rounding)
    assert (deep.met[OUT].error > alone.met[OUT].error).all() and (alone.met[OUT].error > 0).all()


def test_the_same_in_the_traces_own_dtype():
    closed = jax.make_jaxpr(marked)(X, jnp.float32(2))
    walk = ran(closed, (X, np.float32(2)), {IN: np.full(5, 7, np.float32)})
    np.testing.assert_array_equal(walk.met[IN].value, X + 1)
    np.testing.assert_array_equal(walk.met[OUT].value, np.float32(14))
    assert walk.met[OUT].value.dtype == np.float32


def looped(x):
    return jax.lax.scan(lambda c, _: (mark(c * 2, "layer", "out", 0, 0), None), x, None, length=3)[0]


@pytest.mark.parametrize("walk", [
    lambda closed: walked(closed, (X,), lambda place, value: None, EXACT),
    lambda closed: ran(closed, (X,), {}),
])  # fmt: skip
def test_each_time_around_a_loop_is_a_call_of_its_own(walk):
    met = walk(jax.make_jaxpr(looped)(X)).met
    assert [place.call for place in met] == [0, 1, 2]
    for place, found in met.items():
        np.testing.assert_allclose(found.value, X * 2.0 ** (place.call + 1))


def test_cotangents_are_met_on_the_way_back():
    closed = jax.make_jaxpr(lambda x, bar: jax.vjp(lambda x: marked(x, jnp.float32(2)), x)[1](bar)[0])(X, X)
    forced = OUT._replace(backward=True)
    walk = walked(closed, (X, X), lambda place, _: np.ones(5) if place == forced else None, EXACT)
    np.testing.assert_allclose(walk.met[forced].value, X)
    np.testing.assert_array_equal(walk.met[IN._replace(backward=True)].value, 2.0)
