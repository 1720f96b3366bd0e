import inspect
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import parity
from pullback.parity.case.exits import exit_described, refusing_exit

X = np.arange(1, 4, dtype=np.float32)
LEAVING = "the code under test ended Python, where it should return or raise an error, so nothing is judged: "


def plain(x):
    return x * x


def leaving(*_):
    sys.exit(0)


def with_rule(fwd, bwd):
    rule = jax.custom_vjp(plain)
    rule.defvjp(fwd, bwd)
    return rule


def right_fwd(x):
    return x * x, x


PLACES = {
    "the rule": {"rule": leaving},
    "its forward rule": {"rule": with_rule(leaving, lambda x, y_bar: (2 * x * y_bar,))},
    "its backward": {"rule": with_rule(right_fwd, leaving)},
    "the reference": {"rule": plain, "reference": leaving},
    "torch's function": {"rule": plain, "torch": leaving},
    "a probe of the user's own": {"rule": plain, "checks": [parity.Probe("mine", leaving)]},
}


@pytest.mark.parametrize("place", PLACES)
def test_an_exit_is_an_error_that_says_where(place):
    given = {"checks": ["values"]} | PLACES[place]
    if "torch" in given:
        pytest.importorskip("torch")
    line = inspect.getsourcelines(leaving)[1] + 1
    with pytest.raises(ValueError) as caught:
        parity.check(given.pop("rule"), X, **given)
    assert str(caught.value) == f"{LEAVING}SystemExit: 0, in test_exits.py, line {line}"


def test_an_exit_while_errors_are_planted():
    with pytest.raises(ValueError, match="ended Python"):
        parity.mutants(PLACES["its backward"]["rule"], jnp.asarray(X))


@pytest.mark.parametrize("code", [0, 1, None, "a text"])
def test_whatever_the_code_is(code):
    with pytest.raises(ValueError, match=f"SystemExit: {code}, in test_exits.py"), refusing_exit():
        sys.exit(code)


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, ZeroDivisionError])
def test_what_is_no_exit_passes(error):
    with pytest.raises(error), refusing_exit():
        raise error


def test_an_exit_that_was_never_raised_has_no_place():
    assert exit_described(SystemExit(3)) == "SystemExit: 3"
