import jax
import jax.numpy as jnp
import numpy as np

from pullback.parity.layers.cutting import flat, pieces
from pullback.parity.layers.marks import mark
from pullback.parity.roundoff.bounded import Rounding
from pullback.parity.roundoff.interpreter import evaluate

X = np.arange(4.0, dtype=np.float32)


TABLE = np.full(4, 3.0, np.float32)


def net(x):
    """Two layers, a number of each an output too."""
    a = mark(jnp.sin(x), "a", "out", 0, 0)
    b = mark(jnp.exp(a) * TABLE, "b", "out", 0, 0)
    return a.sum(), b * 2


def run(closed, most, give):
    """The outputs by their number, from piece to piece; `give(value)` is what goes on at a mark."""
    known, found, sizes = {}, {}, []
    for piece in pieces(closed, known, most):
        inputs = [known.get(var, X) for var in piece.invars]
        values = evaluate(Rounding(np.float64), piece, [Rounding(np.float64).argument(x) for x in inputs])
        found |= {k: x.value for k, x in zip(piece.outputs, values, strict=False)}
        marks = values[len(piece.outputs) :]
        known |= {eqn.outvars[0]: give(x.value) for eqn, x in zip(piece.marks, marks, strict=True)}
        sizes.append(len(piece.eqns))
    return found, sizes


def test_the_pieces_together_are_the_trace():
    closed = jax.make_jaxpr(net)(X)
    whole, (all_equations,) = run(closed, 10**9, lambda x: x)
    parts, sizes = run(closed, 1, lambda x: x)
    assert len(sizes) > 2 and max(sizes) < all_equations
    assert whole.keys() == parts.keys() == {0, 1}
    for k, x in whole.items():
        np.testing.assert_array_equal(parts[k], x)


def test_a_piece_begins_with_what_the_caller_has_at_the_marks():
    parts, _ = run(jax.make_jaxpr(net)(X), 1, np.ones_like)
    assert parts[0] == 4  # the sum of a, which is 1 now
    np.testing.assert_array_equal(parts[1], 2)


def test_what_the_caller_does_not_have_is_computed_again():
    closed = jax.make_jaxpr(net)(X)
    (first, *_), last = pieces(closed, (), 1), list(pieces(closed, (), 1))[-1]
    names = [eqn.primitive.name for eqn in last.eqns]
    assert "sin" in names and "exp" in names and len(first.eqns) < len(last.eqns)


def test_calls_with_marks_in_them_are_inlined():
    closed = jax.make_jaxpr(jax.jit(net))(X)
    assert [eqn.primitive.name for eqn in closed.eqns] == ["jit"]
    names = [eqn.primitive.name for eqn in flat(closed).eqns]
    assert names.count("layer_mark") == 2 and "sin" in names


def test_a_loop_with_marks_in_it_is_one_piece():
    def looped(x):
        return jax.lax.scan(lambda c, _: (mark(c * 2, "a", "out", 0, 0), None), mark(x, "b", "in", 0, 0), None, 3)[0]

    assert len(list(pieces(flat(jax.make_jaxpr(looped)(X)), (), 1))) == 1


def test_outputs_that_no_equation_makes():
    closed = jax.make_jaxpr(lambda x: (x, 1.0))(X)
    (piece,) = pieces(closed, ())
    assert piece.outputs == [0, 1] and len(piece.invars) == 1
