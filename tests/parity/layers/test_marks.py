import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from pullback.parity.layers.marks import Place, mark, mark_p, met_by
from pullback.parity.roundoff.bounded import Bounded, Rounding
from pullback.parity.roundoff.interpreter import evaluate

HALF = jnp.asarray([1.0, 2.0])


def marked(x):
    return jnp.sin(mark(x * 2, "layer", "in", 0, 0))


def places(fun, *args):
    found = []

    def look(jaxpr):
        for eqn in jaxpr.eqns:
            if eqn.primitive is mark_p and not eqn.params["tangent"]:
                found.append((eqn.params["place"], eqn.outvars[0].aval.shape))
            for inner in jaxprs_in_params(eqn.params):
                look(inner)

    look(jax.make_jaxpr(fun)(*args).jaxpr)
    return found


def test_a_mark_changes_nothing():
    for fun in (marked, jax.jit(marked), jax.vmap(marked), jax.checkpoint(marked)):
        np.testing.assert_array_equal(fun(HALF), jnp.sin(HALF * 2))
    gradient = jax.grad(lambda x: marked(x).sum())(HALF)
    np.testing.assert_array_equal(gradient, jax.grad(lambda x: jnp.sin(x * 2).sum())(HALF))
    np.testing.assert_array_equal(
        jax.jvp(marked, (HALF,), (HALF,))[1], jax.jvp(lambda x: jnp.sin(x * 2), (HALF,), (HALF,))[1]
    )


def test_under_vmap_the_batch_comes_first():
    assert places(jax.vmap(marked, in_axes=1), jnp.ones((3, 5))) == [(Place("layer", "in", 0), (5, 3))]


def test_the_cotangent_is_marked_on_its_way_back():
    found = [place for place, _ in places(jax.grad(lambda x: marked(x).sum()), HALF)]
    assert Place("layer", "in", 0) in found and Place("layer", "in", 0, 0, True) in found


def test_who_walks_the_trace_meets_the_value_and_may_replace_it():
    met = {}

    def meet(place, x):
        met[place] = x.value
        return Bounded(np.zeros(2), None)

    closed = jax.make_jaxpr(jax.jit(marked))(HALF)
    with met_by(meet):
        (out,) = evaluate(Rounding(np.float64), closed, [Bounded(np.asarray([1.0, 2.0]), None)])
    np.testing.assert_array_equal(met[Place("layer", "in", 0)], [2.0, 4.0])
    np.testing.assert_array_equal(out.value, [0.0, 0.0])
    (out,) = evaluate(Rounding(np.float64), closed, [Bounded(np.asarray([1.0, 2.0]), None)])
    np.testing.assert_allclose(out.value, np.sin([2.0, 4.0]))
