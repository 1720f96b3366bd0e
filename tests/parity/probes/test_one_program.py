import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.probes import one_program as room
from pullback.parity.probes.one_program import in_one_program

X = np.array([1.0, -2.0, 3.0], np.float32)


@pytest.fixture
def programs(monkeypatch):
    """How often something is compiled."""
    made, donating = [], room._donating
    monkeypatch.setattr(room, "_donating", lambda *args: made.append(1) or donating(*args))
    return made


def test_all_parts_are_one_program(programs):
    runs = in_one_program({"square": (lambda x: x * x, (X,)), "sum": (lambda x, y: {"s": x + y}, (X, 2 * X))})
    assert list(runs) == ["square", "sum"]
    for _ in range(2):
        np.testing.assert_array_equal(runs["square"](), X * X)
        np.testing.assert_array_equal(runs["sum"]()["s"], 3 * X)
    assert len(programs) == 1


def broken(x):
    raise RuntimeError("out of luck")


def test_a_part_that_raises_while_it_is_traced_raises_when_it_is_called(programs):
    runs = in_one_program({"broken": (broken, (X,)), "square": (lambda x: x * x, (X,))})
    np.testing.assert_array_equal(runs["square"](), X * X)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="^out of luck"):
            runs["broken"]()
    assert len(programs) == 1


def test_a_part_that_raises_while_it_runs_raises_alone(programs):
    def fails(x):
        def host(x):
            raise RuntimeError("while it runs")

        return jax.pure_callback(host, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    runs = in_one_program({"square": (lambda x: x * x, (X,)), "fails": (fails, (X,))})
    np.testing.assert_array_equal(runs["square"](), X * X)
    with pytest.raises(Exception, match="while it runs"):
        jax.block_until_ready(runs["fails"]())
    assert len(programs) >= 1


def test_the_callers_arrays_are_left_alone_although_they_are_donated():
    x, on_device = X.copy(), jnp.asarray(X)
    runs = in_one_program({"one": (lambda x: x + 1, (x,)), "two": (lambda x: x * 2, (on_device,))})
    np.testing.assert_array_equal(runs["one"](), X + 1)
    np.testing.assert_array_equal(runs["two"](), X * 2)
    np.testing.assert_array_equal(x, X)


def test_no_parts():
    assert in_one_program({}) == {}


def test_buffers_that_cannot_be_used_again_are_no_warning():
    np.testing.assert_array_equal(in_one_program({"sum": (lambda x: x.sum(), (X,))})["sum"](), 2)
