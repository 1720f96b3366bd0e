import functools

import jax
import jax.numpy as jnp
import numpy as np

from pullback.parity.layers.calls import Calls, marked_leaves


def test_an_array_that_comes_twice_is_one_leaf_and_others_pass():
    x, key = jnp.ones(2), jax.random.key(0)
    tree, leaves = marked_leaves(
        (x, {"again": x, "other": np.ones(3)}, "text", 3, None, key), lambda i, a: jnp.asarray(a) + i
    )
    assert len(leaves) == 2
    assert tree[0] is tree[1]["again"] and tree[2:5] == ("text", 3, None) and tree[5] is key
    np.testing.assert_array_equal(tree[1]["other"], np.full(3, 2.0))


def test_calls_are_counted_and_kept_in_order():
    calls = Calls()

    def inner(x):
        return calls.marked("layer", "net.inner", lambda x: x * 2, (x,), {})

    def outer(x):
        return calls.marked(3, "net", lambda x: inner(inner(x)), (x,), {})

    jaxpr = jax.make_jaxpr(outer)(jnp.ones(2))
    assert [(c.path, c.kind, c.call) for c in calls.ended] == [
        ("net.inner", "str", 0),
        ("net.inner", "str", 1),
        ("net", "int", 0),
    ]
    assert calls.begun == ["net", "net.inner", "net.inner"]
    assert len(calls.ended[0].inputs) == len(calls.ended[0].outputs) == 1
    assert str(jaxpr).count("layer_mark") == 6


def test_keyword_arguments_are_inputs_too():
    calls = Calls()
    jax.make_jaxpr(
        lambda x: calls.marked("layer", "p", functools.partial(lambda x, mask: x * mask), (x,), {"mask": x + 1})
    )(jnp.ones(2))
    assert len(calls.ended[0].inputs) == 2
