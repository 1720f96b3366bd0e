import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.case.stripping import custom_rules, without_rules
from pullback.parity.roundoff.high_level import inner_jaxprs
from pullback.parity.roundoff.interpreter import inner_call, is_call

hijax = pytest.importorskip("jax.experimental.hijax")
FLAGS = ("JAX_CUSTOM_VJP3", "JAX_REMAT3")


def test_an_ordinary_call_has_its_jaxpr_in_its_parameters():
    (eqn,) = jax.make_jaxpr(jax.jit(jnp.sin))(1.0).eqns
    (inner,) = inner_jaxprs(eqn)
    assert [e.primitive.name for e in inner.eqns] == ["sin"]


@pytest.mark.skipif(not hasattr(jax.config, "jax_remat3"), reason="this jax has no remat3")
def test_rules_and_checkpoints_of_the_new_kind_are_seen_through():
    """In a process of its own: the flags are read when jax is imported."""
    env = dict(os.environ, **dict.fromkeys(FLAGS, "1"))
    run = subprocess.run([sys.executable, __file__], env=env, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "seen\n"), run.stderr


def seen() -> None:
    """What the subprocess does."""
    from pullback import parity

    @jax.custom_vjp
    def halved(x):
        return jnp.sin(x)

    halved.defvjp(lambda x: (jnp.sin(x), x), lambda x, y_bar: (jnp.cos(x) * y_bar / 2,))

    @jax.checkpoint
    def twice(x):
        return 2 * halved(x)

    closed = jax.make_jaxpr(twice)(1.0)
    (eqn,) = closed.eqns
    assert eqn.primitive.name == "call_hi_primitive" and is_call(eqn)
    assert len(inner_call(eqn, [1.0])[0].eqns) >= 1
    assert custom_rules(closed) == ["halved (custom_vjp)"]
    assert np.isclose(jax.grad(lambda x: without_rules(closed)(x)[0])(1.0), 2 * np.cos(1.0))
    x = np.linspace(-1, 1, 8, dtype=np.float32)
    report = parity.check(twice, x)
    assert report.exit_code == 1, report
    print("seen")


if __name__ == "__main__":
    seen()
