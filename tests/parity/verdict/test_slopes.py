import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.case.case import take_up
from pullback.parity.verdict.slopes import Estimate, Slope, agrees, derivative, measured_slopes, misses, slope_of

f32 = functools.partial(np.array, dtype=np.float32)

X = f32([0.5, -1.25, 2])
Y = f32([3, 0.1, -0.7])


def product(x, y):
    return x * y


def case_of(rule=product, *args, **options):
    return take_up(rule, args or (X, Y), **options)


def measured(case):
    return measured_slopes(case, case.rule)


def test_slopes_are_those_of_the_first_cotangent():
    it = case_of()
    slopes = measured(it)
    g = it.cotangents[0][0].astype(np.float64)
    assert list(slopes) == ["x", "y"]
    for name, other in (("x", Y), ("y", X)):
        slope = slopes[name]
        assert not slope.kinked
        true = float(np.sum(g * other * slope.direction))
        assert abs(slope.estimate.value - true) <= 10 * slope.estimate.uncertainty + 1e-14
        assert slope_of({f"{name}_bar": (it.cotangents[0] * other)}, name, slope) == pytest.approx(true, rel=1e-6)


def test_a_rule_is_measured_by_its_forward_and_not_by_its_backward():
    @jax.custom_vjp
    def rule(x, y):
        return x * y

    rule.defvjp(lambda x, y: (x * y, None), lambda _, g: (7 * g, 7 * g))
    for name, slope in measured(case_of(rule)).items():
        assert slope.estimate == measured(case_of())[name].estimate


def test_what_is_not_differentiated_is_not_moved():
    slopes = measured(case_of(nondiff=["x"]))
    assert list(slopes) == ["y"] and slopes["y"].direction.shape == Y.shape


def test_the_trace_of_the_arguments_dtype_is_what_is_measured():
    dtypes = []

    def rule(x, y):
        dtypes.append(x.dtype)
        return x * y

    it = case_of(rule)
    _ = it.cotangents
    measured(it)
    assert dtypes == [jnp.float32], "it is not traced again in float64"


def test_casts_inside_are_no_steps():
    slopes = measured(case_of(lambda x, y: (x.astype(jnp.bfloat16).astype(jnp.float32) ** 2) * y))
    for name, slope in measured(case_of(lambda x, y: x**2 * y)).items():
        assert slopes[name].estimate.value == pytest.approx(slope.estimate.value, rel=1e-9)
        assert not slopes[name].kinked and slopes[name].is_sure


def test_integer_and_several_outputs():
    it = case_of(lambda x, y: {"n": jnp.argmax(x), "a": x * y, "b": jnp.sum(x)})
    slopes = measured(it)
    a, b = (c[0].astype(np.float64) for c in it.cotangents)
    true = float(np.sum((a * Y + b) * slopes["x"].direction))
    assert slopes["x"].estimate.value == pytest.approx(true, rel=1e-9)


def test_a_function_that_cannot_be_traced_raises():
    def rule(x, y):
        raise TypeError("no")

    with pytest.raises(TypeError, match="^no"):
        measured(case_of(rule, reference=product))


def test_complex_arguments_are_moved_in_the_plane():
    z = f32([1, -2]) + 1j * f32([0.5, 3])
    it = case_of(lambda z: z * z * jnp.conj(z), z.astype(np.complex64))
    slope = measured(it)["z"]
    assert slope.direction.dtype == np.complex128 and np.all(np.imag(slope.direction) != 0)
    assert agrees(slope_of(it.plain(*it.args), "z", slope), slope)
    conjugated = {"z_bar": np.conj(it.plain(*it.args)["z_bar"])}
    assert not agrees(slope_of(conjugated, "z", slope), slope)


def test_infinite_elements_are_not_moved():
    mask = f32([0, -np.inf, 0])
    it = case_of(lambda x, mask: jax.nn.softmax(x + mask), X, mask)
    slopes = measured(it)
    assert slopes["mask"].direction[1] == 0 and np.all(slopes["mask"].direction[[0, 2]] != 0)
    for name in ("x", "mask"):
        assert agrees(slope_of(it.plain(*it.args), name, slopes[name]), slopes[name])


def test_on_a_kink():
    slopes = measured(case_of(lambda x, y: jnp.abs(x) * y, f32([0, 1, 2]), Y))
    assert slopes["x"].kinked and not slopes["y"].kinked


RIGHT = {"x_bar": f32([[2, 0], [9, 9]])}
SLOPE = Slope(Estimate(6.0, 1e-9), np.array([3.0, 5.0]), False)


def test_what_cotangents_say_of_the_slope():
    assert slope_of(RIGHT, "x", SLOPE) == 6.0, "the first of them"


@pytest.mark.parametrize(
    ("said", "right"), [(6.0, True), (6 + 5e-6, True), (6 + 1e-5, False), (-6.0, False), (np.nan, False)]
)
def test_the_digits_that_a_slope_is_heard_on(said, right):
    assert agrees(said, SLOPE) is right


def test_within_ten_times_the_uncertainty():
    unsure = SLOPE._replace(estimate=Estimate(6.0, 1e-3))
    assert agrees(6 + 9.9e-3, unsure) and not agrees(6 + 1.1e-2, unsure)


@pytest.mark.parametrize(
    ("estimate", "sure"),
    [((6.0, 1e-9), True), ((6.0, 1e-2), False), ((0.0, 1e-2), True), ((np.nan, np.inf), False), ((1e-9, 1e-9), False)],
)
def test_whether_it_is_precise_enough_to_judge_by(estimate, sure):
    assert SLOPE._replace(estimate=Estimate(*estimate)).is_sure is sure


def test_misses_are_counted_except_on_kinks():
    leaves = {"x_bar": f32([[2, 0]]), "y_bar": f32([[2, 1]]), "z_bar": f32([[0, 0]])}
    slopes = dict.fromkeys("xyz", SLOPE)
    assert misses(leaves, slopes) == 2
    assert misses(leaves, slopes | {"y": SLOPE._replace(kinked=True)}) == 1
    assert misses(leaves, slopes | {"y": SLOPE._replace(estimate=Estimate(6.0, 0.1))}) == 1, "nor where it is unsure"
    assert misses(leaves, {}) == 0


SMOOTH = {
    "constant": (lambda t: 3.0, 0.0),
    "linear": (lambda t: 3 - 2 * t, -2.0),
    "square, flat at 0": (lambda t: t * t, 0.0),
    "cubic": (lambda t: (1 + t) ** 3, 3.0),
    "exp": (lambda t: math.exp(2 * t), 2.0),
    "sin": (lambda t: math.sin(50 * t + 1), 50 * math.cos(1)),
    "tanh, steep": (lambda t: math.tanh(1000 * t + 0.5), 1000 / math.cosh(0.5) ** 2),
    "tiny": (lambda t: 1e-30 * math.exp(t), 1e-30),
    "huge": (lambda t: 1e30 * math.exp(t), 1e30),
    "beside a pole": (lambda t: 1 / (t + 0.013), -1 / 0.013**2),
}


def honest(estimate, true):
    """Within ten times what it says of itself, which is how far the oracle trusts it."""
    return abs(estimate.value - true) <= 10 * estimate.uncertainty + 1e-14 * abs(true)


@pytest.mark.parametrize("name", SMOOTH)
def test_known_derivatives(name):
    phi, true = SMOOTH[name]
    estimate = derivative(phi)
    assert honest(estimate, true)
    assert estimate.uncertainty <= 1e-6 * max(abs(true), abs(phi(0.0)))


@pytest.mark.parametrize("distance", [0.5, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
@pytest.mark.parametrize("side", [1, -1])
def test_kinks_are_not_crossed(distance, side):
    estimate = derivative(lambda t: max(t - side * distance, 0.0) * 4 + math.sin(t))
    true = 1.0 if side > 0 else 5.0
    assert estimate.value == pytest.approx(true, rel=1e-6) and honest(estimate, true)


def test_many_kinks_at_all_distances():
    places = np.geomspace(1e-4, 1, 50) * np.where(np.arange(50) % 2, 1, -1)
    estimate = derivative(lambda t: float(np.sum(np.abs(t - places))))
    true = float(np.sum(-np.sign(places)))
    assert honest(estimate, true) and estimate.uncertainty < 1e-6


@pytest.mark.parametrize("offset", [1e3, 1e6, 1e9, -1e9])
def test_a_large_constant_costs_digits_and_the_uncertainty_says_so(offset):
    estimate = derivative(lambda t: offset + math.sin(t))
    assert honest(estimate, 1.0)
    assert estimate.uncertainty >= 1e-17 * abs(offset)
    assert estimate.value == pytest.approx(1.0, abs=1e-13 * abs(offset))


def test_where_steps_leave_the_domain_smaller_ones_are_taken():
    def phi(t):
        return math.sqrt(1e-3 + t) if t >= -1e-3 else math.nan

    estimate = derivative(phi)
    assert honest(estimate, 0.5 / math.sqrt(1e-3)) and estimate.uncertainty < 1e-6


def test_what_cannot_be_measured_is_infinitely_uncertain():
    estimate = derivative(lambda t: math.nan)
    assert math.isnan(estimate.value) and estimate.uncertainty == math.inf


def test_a_jump_is_not_taken_for_a_slope():
    estimate = derivative(lambda t: 1.0 if t > 0 else 0.0)
    assert estimate.uncertainty > 0.1


def test_what_the_functions_own_rounding_does_is_measured():
    # Its last digits are anything, as those of a long sum are.
    estimate = derivative(lambda t: math.exp(t) + 1e-9 * math.sin(1e17 * t))
    assert honest(estimate, 1.0) and estimate.uncertainty > 1e-8


def test_the_size_of_what_is_summed_counts():
    # 1e6 - 1e6 + t: the sum is small, and rounded as its terms are.
    small, large = derivative(math.sin), derivative(math.sin, size=1e6)
    assert large.uncertainty > 100 * small.uncertainty and honest(large, 1.0)
