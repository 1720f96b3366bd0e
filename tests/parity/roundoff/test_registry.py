"""Rounding rules of the user's own; and the example on the page is run."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive
from jax.interpreters import ad, mlir

from pullback import parity
from pullback.parity.roundoff import registry, rounding_bounds
from pullback.parity.roundoff.bounded import Bounded


@pytest.fixture
def rules(monkeypatch):
    """The registry, put back afterwards."""
    monkeypatch.setattr(registry, "RULES", registry.RULES)
    before = dict(registry.RULES)
    yield registry.RULES
    registry.RULES.clear()
    registry.RULES.update(before)


def test_the_example_on_the_page_takes_the_place_of_our_rule(root, rules):
    page = (root / "docs" / "how-it-decides.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    x = np.linspace(-0.999, 0.999, 1001, dtype=np.float32)
    scaled = lambda x: jax.lax.erf_inv(x * np.float32(0.999))  # noqa: E731
    before = rounding_bounds(scaled, x, dtype=np.float32)
    exec(code, {})
    after = rounding_bounds(scaled, x, dtype=np.float32)
    np.testing.assert_allclose(before.values, after.values, rtol=1e-13)
    assert after.fallbacks == () and (after.errors != before.errors).any()
    off = np.abs(np.asarray(jax.jit(scaled)(x), np.float64) - after.values)
    assert np.all(off <= after.errors)
    # The first-order term by hand: the rounding of the product, times the slope.
    slope = np.sqrt(np.pi) / 2 * np.exp(after.values**2)
    least = 2.0**-24 * np.abs(x * 0.999) * slope
    assert np.all(after.errors >= least) and np.all(
        after.errors <= 3 * least + 10 * 2.0**-24 * np.abs(after.values) + 1e-37
    )


def test_a_primitive_of_the_users_own(rules):
    twice = Primitive("twice_for_this_test")
    twice.def_impl(lambda x: 2 * x)
    twice.def_abstract_eval(lambda aval: aval)
    ad.deflinear2(twice, lambda g, x: [2 * g])
    mlir.register_lowering(twice, mlir.lower_fun(lambda x: 2 * x, multiple_results=False))
    x = np.asarray(np.random.default_rng(0).standard_normal(8)).astype(np.float32)

    def check():
        return parity.check(lambda x: twice.bind(jnp.sin(x)), x, reference=lambda x: 2 * jnp.sin(x), checks=["values"])

    def exactly(rounding, eqn, x):
        return Bounded(2 * x.value, None if x.error is None else 2 * x.error)

    assert check().ok
    own = lambda x: twice.bind(x)  # noqa: E731
    assert rounding_bounds(own, x, dtype=np.float32).fallbacks == ("twice_for_this_test",)
    assert parity.register_rounding_rule(twice, exactly) is None
    bounds = rounding_bounds(own, x, dtype=np.float32)
    assert bounds.fallbacks == () and not bounds.errors.any()
    assert parity.register_rounding_rule("twice_for_this_test", exactly) is exactly, "it replaces the first"


def test_a_rule_that_allows_too_much_is_used_as_it_is(rules):
    parity.register_rounding_rule("sin", lambda rounding, eqn, x: Bounded(np.sin(x.value), np.full(x.value.shape, 9.0)))
    assert rounding_bounds(jnp.sin, np.ones(3, np.float32), dtype=np.float32).errors.tolist() == [9.0] * 3


@pytest.mark.parametrize("primitive", [3, None, jnp.sin])
def test_what_is_no_primitive(as_a_user, primitive):
    with pytest.raises(TypeError, match="^primitive must be a jax primitive or its name; got a "):
        parity.register_rounding_rule(primitive, lambda *_: None)


def test_what_is_no_function(as_a_user):
    with pytest.raises(TypeError, match=r"^rule must be a function \(rounding, eqn, \*inputs\) -> Bounded; got a int$"):
        parity.register_rounding_rule("sin", 3)  # pyright: ignore[reportArgumentType]
