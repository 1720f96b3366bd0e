import jax
import jax.numpy as jnp
import numpy as np

from pullback.parity.layers.marks import Place, mark
from pullback.parity.layers.numbering import Numbering
from pullback.parity.model.steps import walked
from pullback.parity.roundoff.bounded import Rounding

HERE = Place("a", "out", 0)


def met(fun, *args):
    """The values at each mark of a gradient, by its place."""
    closed = jax.make_jaxpr(jax.grad(fun))(*args)
    walk = walked(closed, args, lambda place, value: None, Rounding(np.float64, inside=False))
    return {place: float(found.value) for place, found in walk.met.items()}


def test_the_way_back_passes_the_rounds_of_a_loop_from_the_last_to_the_first():
    def fun(x):
        y, _ = jax.lax.scan(lambda y, _: (mark(2 * y, "a", "out", 0, 0), None), x, length=3)
        return y

    # Forward it is linear: the way back does not need it, and it is not met there.
    found = met(fun, jnp.float32(1))
    assert [found[HERE._replace(call=i, backward=True)] for i in range(3)] == [4, 2, 1]
    found = met(lambda x: fun(x) ** 2, jnp.float32(1))
    assert [found[HERE._replace(call=i)] for i in range(3)] == [2, 4, 8]
    assert [found[HERE._replace(call=i, backward=True)] for i in range(3)] == [64, 32, 16]


def test_what_is_computed_again_on_the_way_back_is_the_same_call():
    def step(call):
        return jax.checkpoint(lambda y: mark(jnp.sin(y), "a", "out", 0, call))

    found = met(lambda x: step(1)(step(0)(x)), jnp.float32(1))
    assert sorted(place.call for place in found) == [0, 0, 1]
    np.testing.assert_allclose(found[HERE], np.sin(1), rtol=1e-6)
    np.testing.assert_allclose(found[HERE._replace(backward=True)], np.cos(np.sin(1)), rtol=1e-6)


def test_numbers_of_bodies_that_were_traced_and_thrown_away_are_closed_up():
    closed = jax.make_jaxpr(lambda x: mark(mark(x, "a", "out", 0, 2), "a", "out", 0, 5))(1.0)
    own = Numbering(closed.jaxpr)
    assert [own(HERE._replace(call=call)).call for call in (2, 5)] == [0, 1]
