import math

import numpy as np
import pytest

from pullback.parity.verdict.differentiation import derivative

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
