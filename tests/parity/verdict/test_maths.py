import functools

import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.case.case import take_up
from pullback.parity.roundoff.bounds import Bounds
from pullback.parity.verdict.deviation import OUTSIDE
from pullback.parity.verdict.evaluation import Evaluation
from pullback.parity.verdict.maths import NO_INFLUENCE, held, in_float64, negligible

f32 = functools.partial(np.array, dtype=np.float32)

X = f32([[0.51, -1.1, 2.3], [-0.27, 0.9, -3.3]])


def room_of(fun, *args, **options):
    """What is negligible, and the case."""
    case = take_up(fun, args, **options)
    return negligible(case, Evaluation(case).want), case


def test_what_does_not_move_the_output_is_nothing():
    room, case = room_of(lambda x: x * x, X)
    assert list(room) == ["x_bar"] and room["x_bar"].shape == (5, 1, 1)
    sizes = np.sum(np.abs(case.cotangents[0]) * (X * X), axis=(1, 2))
    np.testing.assert_allclose(room["x_bar"].ravel(), NO_INFLUENCE * sizes / 3.3, rtol=1e-6)


def test_a_zero_cotangent_leaves_no_room():
    room, _ = room_of(lambda x: x * x, X)
    assert room["x_bar"][4] == 0 and (room["x_bar"][:4] > 0).all()


def test_the_room_follows_the_size_of_output_and_argument():
    room, large, of_tiny = (room_of(fun, x)[0]["x_bar"] for fun, x in (
        (lambda x: x * x, X), (lambda x: 1024 * (x * x), X), (lambda x: x * x * 2.0**40, X * f32(2.0**-20)),
    ))  # fmt: skip
    np.testing.assert_allclose(large, 1024 * room, rtol=1e-12)
    np.testing.assert_allclose(of_tiny, 2.0**20 * room, rtol=1e-12)


def test_all_outputs_count_and_each_argument_has_its_own():
    fun = lambda x, w: {"n": jnp.argmax(x), "a": x * x, "b": jnp.sum(w)}  # noqa: E731
    room, case = room_of(fun, X, f32([[4.0]]))
    a, b = case.cotangents
    sizes = np.sum(np.abs(a) * X**2, axis=(1, 2)) + 4 * np.abs(b)
    np.testing.assert_allclose(room["x_bar"].ravel(), NO_INFLUENCE * sizes / 3.3, rtol=1e-6)
    np.testing.assert_allclose(room["w_bar"].ravel(), NO_INFLUENCE * sizes / 4, rtol=1e-6)


def test_of_many_outputs_each_has_its_own_cotangent():
    """By name y[10] comes before y[2]; the cotangents are in the outputs' own order."""
    room, case = room_of(lambda x: [k * jnp.ones(k + 1) * jnp.sum(x) for k in range(12)], X)
    total = abs(np.sum(X, dtype=np.float64))
    sizes = sum(np.sum(np.abs(c), axis=1) * k * total for k, c in enumerate(case.cotangents))
    np.testing.assert_allclose(room["x_bar"].ravel(), NO_INFLUENCE * sizes / 3.3, rtol=1e-5)


def test_infinite_numbers_are_left_out():
    for lowest in (0, -4):
        mask = f32([[lowest, -np.inf, 0]] * 2)
        room, case = room_of(lambda x, mask: x + mask, X, mask)
        sizes = np.sum(np.abs(case.cotangents[0][:, :, ::2] * (X + mask)[:, ::2]), axis=(1, 2))
        np.testing.assert_allclose(room["x_bar"].ravel(), NO_INFLUENCE * sizes / 3.3, rtol=1e-6)
        # An argument of zeros and infinities moves nothing.
        np.testing.assert_allclose(room["mask_bar"].ravel(), NO_INFLUENCE * sizes / 4 if lowest else 0, rtol=1e-6)


def test_complex_numbers_count_by_their_size():
    z = (X * (3 + 4j)).astype(np.complex64)
    room, case = room_of(lambda z: z * z, z)
    sizes = np.sum(np.abs(case.cotangents[0]) * 25 * X**2, axis=(1, 2))
    np.testing.assert_allclose(room["z_bar"].ravel(), NO_INFLUENCE * sizes / (5 * 3.3), rtol=1e-6)


WANT = {"y": np.array([1.0, 2.0]), "x_bar": np.array([[1.0, 0.0]])}


def tier(y, x_bar=0.0):
    """Bounds of which only the errors matter."""
    errors = {"y": np.full(2, y), "x_bar": np.full((1, 2), x_bar)}
    return Bounds(WANT, errors, 0, 0, (), ())


def rows(tiers, y=0.0, x_bar=0.0, room=None):
    got = {"y": WANT["y"] + y, "x_bar": WANT["x_bar"] + x_bar}
    return {row.leaf: row for row in held("maths", {"rule": got}, WANT, tiers, room or {}, in_float64(WANT))}


def test_the_bounds_of_a_tier_add_up():
    assert rows([[tier(1e-9), tier(2e-9)]], y=2.9e-9)["y"].ok
    assert not rows([[tier(1e-9), tier(2e-9)]], y=3.1e-9)["y"].ok


def test_each_leaf_is_held_by_the_sharpest_tier_that_lets_it_agree():
    found = rows([[tier(1e-9, 1e-9)], [tier(1e-6, 1e-6)]], y=5e-7)
    assert found["y"].ok and found["y"].worst[1].budget == pytest.approx(0.5)
    assert found["x_bar"].ok and found["x_bar"].worst[1].budget == 0
    assert found["x_bar"].floor == pytest.approx(2e-9), "by the first of them, though another leaf needs the second"


def test_what_no_tier_lets_agree_differs_by_the_last():
    found = rows([[tier(1e-9)], [tier(1e-6)]], y=1e-3)["y"]
    assert found.verdict == "FAIL" and found.deviations["rule"].problem == OUTSIDE
    assert found.worst[1].budget == pytest.approx(1e3)


def test_later_tiers_are_not_made_where_they_are_not_needed():
    def tiers():
        yield [tier(1e-9)]
        raise AssertionError("nobody needs it")

    assert all(row.ok for row in rows(tiers(), y=5e-10).values())


@pytest.mark.parametrize(("off", "ok"), [(1e-30, True), (1e-13, True), (1e-11, False)])
def test_nothing_and_next_to_nothing_are_one_answer(off, ok):
    room = {"x_bar": np.array([[1e-12]])}
    assert rows([[tier(0.0)]], x_bar=off, room=room)["x_bar"].ok is ok
    assert not rows([[tier(0.0)]], x_bar=off)["x_bar"].ok
    assert not rows([[tier(0.0)]], y=off if off > 1e-16 else 1e-15, room=room)["y"].ok, "only where there is room"
