import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import parity
from pullback.functional import (
    fused_forward_and_backward,
    fused_mlp_loss,
    fused_mlp_loss_bwd,
    fused_mlp_loss_fwd,
    init_mlp,
)
from pullback.parity.lesson import in_jax, in_torch


def normal_arguments(n, sizes, seed=0):
    rng = np.random.default_rng(seed)
    params = [(np.asarray(w), 0.1 * rng.standard_normal(w.shape[1])) for w, _ in init_mlp(jax.random.key(seed), sizes)]
    x, targ = rng.standard_normal((n, sizes[0])), rng.standard_normal((n, sizes[-1]))
    return jax.tree.map(lambda a: np.asarray(a).astype(np.float32), (params, x, targ))


@pytest.mark.parametrize("tile_rows", [None, 2])
def test_the_drop_in_passes_every_check_of_a_rule(tile_rows):
    params, x, targ = normal_arguments(6, (7, 5, 1), seed=3)
    rule = functools.partial(fused_mlp_loss, tile_rows=tile_rows)
    report = parity.check(rule, params, x, targ[:, 0], reference=in_jax.twin_loss, torch=in_torch.mlp_loss)
    assert report.ok, str(report)


def test_every_planted_error_is_caught():
    params, x, targ = normal_arguments(6, (7, 5, 1), seed=3)
    rule = functools.partial(fused_mlp_loss, tile_rows=4)
    score = parity.mutants(rule, params, x, targ[:, 0], reference=in_jax.twin_loss)
    assert score.ok and len(score.caught) > 50, str(score)


@pytest.mark.parametrize("tile_rows", [None, 4])
def test_forward_keeps_the_gradients_and_backward_scales_them(tile_rows):
    params, x, targ = jax.tree.map(jnp.asarray, normal_arguments(6, (7, 5, 1), seed=3))
    loss, residuals = fused_mlp_loss_fwd(params, x, targ, tile_rows)
    want_loss, grads, x_bar = fused_forward_and_backward(params, x, targ, tile_rows=tile_rows)
    params_bar, bar, targ_bar = fused_mlp_loss_bwd(tile_rows, residuals, jnp.float32(-4))
    assert loss == want_loss
    for got, want in ((params_bar, grads), (bar, x_bar), (targ_bar, jax.grad(in_jax.twin_loss, 2)(params, x, targ))):
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, -4 * b, rtol=1e-5, atol=1e-6, strict=True)
