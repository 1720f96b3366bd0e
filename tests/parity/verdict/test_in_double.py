import jax
import jax.numpy as jnp
import numpy as np

from pullback.parity.case.case import take_up
from pullback.parity.roundoff.bounds import rounding_bounds
from pullback.parity.verdict.in_double import InDouble

X = np.array([[1.0, -2.0], [3.0, 0.5]], np.float32)


def third(x):
    return x / 3


def case_of(rule=third, *args, **options):
    return take_up(rule, args or (X,), **options)


def test_leaves_in_float64_from_jax_and_from_torch():
    it = case_of(reference=third, torch=third)
    in_double = InDouble(it)
    for run in it.implementations.values():
        leaves = in_double.leaves(run)
        assert {leaf.dtype for leaf in leaves.values()} == {np.dtype(np.float64)}
        assert all(isinstance(leaf, np.ndarray) for leaf in leaves.values())
        np.testing.assert_array_equal(leaves["y"], X.astype(np.float64) / 3)
        np.testing.assert_allclose(leaves["x_bar"], it.cotangents[0].astype(np.float64) / 3, rtol=1e-15)
    assert not jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]


def test_the_same_numbers_and_the_same_cotangents():
    # Those of the case, widened: others would be another question.
    it = case_of(lambda x: 1 * x)
    leaves = InDouble(it).leaves(it.rule)
    np.testing.assert_array_equal(leaves["y"], X.astype(np.float64), strict=True)
    np.testing.assert_array_equal(leaves["x_bar"], it.cotangents[0].astype(np.float64), strict=True)


def more_of(case):
    with jax.enable_x64(True):
        return case.cast(np.float64).cotangents


def test_two_sets_of_cotangents_in_one_call():
    calls = []

    def theirs(x):
        calls.append(1)
        return x * x

    it = case_of(lambda x: x * x, torch=theirs)
    more = more_of(it)
    in_double = InDouble(it, more)
    for run in it.implementations.values():
        own, others = in_double.leaves(run), in_double.leaves(run, True)
        np.testing.assert_array_equal(own["x_bar"], 2 * X.astype(np.float64) * it.cotangents[0])
        np.testing.assert_array_equal(others["x_bar"], 2 * X.astype(np.float64) * more[0])
        np.testing.assert_array_equal(own["y"], others["y"])
        assert len(own["x_bar"]) == len(others["x_bar"]) == 5
    assert len(calls) == 1


def test_your_own_cotangents_are_in_both_sets():
    it = case_of(lambda x: 1 * x, cotangents=X / 3)
    in_double = InDouble(it, more_of(it))
    for part in (False, True):
        bars = in_double.leaves(it.rule, part)["x_bar"]
        assert len(bars) == 6
        np.testing.assert_array_equal(bars[5], (X / 3).astype(np.float64))


def test_an_implementation_is_called_once():
    calls = []

    def rule(x):
        calls.append(1)
        return x * x

    it = case_of(rule)
    in_double = InDouble(it)
    before = len(calls)
    first = in_double.leaves(it.rule)
    assert in_double.leaves(it.rule)["y"] is first["y"] and len(calls) == before + 1


def test_what_an_implementation_raises_is_raised():
    def float32_only(x):
        if x.dtype != jnp.float32:
            raise TypeError("float32 only")
        return x

    it = case_of(float32_only)
    in_double = InDouble(it)
    for _ in range(2):
        try:
            in_double.leaves(it.rule)
        except TypeError as error:
            assert str(error) == "float32 only"
        else:
            raise AssertionError("it did not raise")


def test_bounds_are_those_of_float64():
    y = np.array([[3, 0.1], [-0.7, 5]], np.float32)
    it = case_of(lambda x, y: x * y, X, y)
    in_double = InDouble(it)
    bounds = in_double.bounds(it.plain)
    assert set(bounds.errors) == {"y", "y (primal)", "x_bar", "y_bar"}
    u = 2.0**-53
    exact = np.abs(X.astype(np.float64) * y)
    # Of one evaluation; two of them may lie twice as far apart.
    assert (bounds.errors["y"] >= u * exact).all() and (bounds.errors["y"] <= u * exact * (1 + 1e-9)).all()
    np.testing.assert_array_equal(bounds.values["y"], X.astype(np.float64) * y)


def test_bounds_for_either_set_of_cotangents_from_one_walk(monkeypatch):
    walks = []

    def counted(*args, **options):
        walks.append(1)
        return rounding_bounds(*args, **options)

    monkeypatch.setattr("pullback.parity.verdict.in_double.rounding_bounds", counted)
    it = case_of(lambda x: x * x)
    more = more_of(it)
    in_double = InDouble(it, more)
    for part, cotangents in ((False, it.cotangents[0]), (True, more[0])):
        bounds = in_double.bounds(it.plain, part)
        assert bounds.errors["x_bar"].shape == bounds.values["x_bar"].shape == (5, 2, 2)
        np.testing.assert_array_equal(bounds.values["x_bar"], 2 * X.astype(np.float64) * cotangents)
        assert bounds.errors["y"].shape == (2, 2)
    assert len(walks) == 1
