import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional._window import Steps, pads_of, pair, put_back, seen

STEPS = [
    Steps(1, 7, 2, 2, 0, 0),  # the last element is never seen
    Steps(1, 7, 3, 2, 1, 1),
    Steps(2, 5, 2, 3, 0, 1),
    Steps(2, 5, 4, 1, 3, 0),
]


@pytest.mark.parametrize("steps", STEPS, ids=str)
def test_what_a_window_sees(steps):
    x = np.arange(2 * 7 * 5 * 3, dtype=np.float32).reshape(2, 7, 5, 3)
    pads = [(0, 0)] * 4
    pads[steps.axis] = (steps.before, steps.after)
    padded = np.pad(x, pads, constant_values=-1)
    places = [np.asarray(here) for here in seen(jnp.asarray(x), steps, -1.0)]
    assert len(places) == steps.window
    for stop in range(steps.stops):
        start = stop * steps.stride
        window = np.take(padded, range(start, start + steps.window), steps.axis)
        for place, here in enumerate(places):
            np.testing.assert_array_equal(np.take(here, stop, steps.axis), np.take(window, place, steps.axis))
        first, count = steps.inside[stop]
        assert (np.take(window, 0, 3)[0].ravel() >= 0).sum() == count * 35 // steps.size
        assert (np.take(window, range(first, first + count), steps.axis) >= 0).all()
    # One stop more would leave the padded array.
    assert steps.stops * steps.stride + steps.window > padded.shape[steps.axis]


@pytest.mark.parametrize("steps", STEPS, ids=str)
def test_put_back_is_the_transpose(steps):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(-3, 4, (2, 7, 5, 3)), jnp.float32)
    places, pullback = jax.vjp(lambda x: tuple(seen(x, steps, 0.0)), x)
    bars = tuple(jnp.asarray(rng.integers(-3, 4, place.shape), jnp.float32) for place in places)
    np.testing.assert_array_equal(put_back(bars, steps), pullback(bars)[0], strict=True)


def test_pairs_and_pads():
    assert pair("op", "stride", 2, 1) == (2, 2) and pair("op", "stride", (2, 3), 1) == (2, 3)
    assert pads_of("op", (1, 2), (5, 5), (3, 3), (1, 1)) == [(1, 1), (2, 2)]
    assert pads_of("op", ((1, 0), (0, 2)), (5, 5), (3, 3), (1, 1)) == [(1, 0), (0, 2)]
    assert pads_of("op", "SAME", (5, 4), (2, 2), (2, 2)) == [(0, 1), (0, 0)]
    with pytest.raises(ValueError, match="op: stride must be an integer of at least 1, or a tuple of two; got 1.5"):
        pair("op", "stride", 1.5, 1)
