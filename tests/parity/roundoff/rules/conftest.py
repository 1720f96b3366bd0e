import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.parity.roundoff.bounds import rounding_bounds


@pytest.fixture
def inside():
    """A function and its arguments in float32, held against their bound."""

    def inside(fun, *args, torch_fun=None, floor=1e-4):
        """The bound, after a look that jax, compiled, and torch stay inside and near it."""
        want = rounding_bounds(fun, *args, dtype=jnp.float32)
        got = [jax.jit(fun)(*args)]
        if torch_fun is not None:
            got.append(torch_fun(*[torch.from_numpy(arg) for arg in args]).numpy())
        for output in got:
            ratio = np.abs(np.asarray(output, np.float64) - want.values) / want.errors
            assert floor < np.nanmax(ratio) <= 1
        assert want.fallbacks == ()
        return want

    return inside
