import jax
import jax.numpy as jnp
import pytest

from pullback.functional import init_mlp, lin, lin_bwd, lin_fwd
from pullback.parity.lesson import in_jax

PARAMS = init_mlp(jax.random.key(0), (5, 4, 3, 1))
X, TARG = jnp.ones((2, 5)), jnp.ones(2)


def rules(fun, *args):
    return str(jax.make_jaxpr(fun)(*args)).count("custom_vjp")


def test_the_twin_holds_no_rule_of_ours():
    assert rules(lambda p: in_jax.twin_mse(in_jax.twin_mlp(p, X), TARG), PARAMS) == 0
    for twin, args in ((in_jax.twin_lin, (X, *PARAMS[0])), (in_jax.twin_relu, (X,)), (in_jax.twin_mse, (TARG, TARG))):
        assert rules(twin, *args) == 0
    assert rules(lambda x: lin(x, *PARAMS[0]), X) > 0, "and the count would find one"


@pytest.mark.parametrize("net", [in_jax.net_by_hand, in_jax.net_custom_vjp, in_jax.net_twin])
def test_every_net_has_one_signature(net):
    result = net(PARAMS, X, TARG)
    assert result.output.shape == (2, 1) and result.loss.shape == () and result.x_bar.shape == X.shape
    assert jax.tree.map(jnp.shape, result.grads) == jax.tree.map(jnp.shape, PARAMS)


def test_every_op_has_one_signature():
    args = ((X, *PARAMS[0]), jnp.ones((2, 4)))
    for run in (in_jax.op_by_hand(lin_fwd, lin_bwd), in_jax.op_by_vjp(lin), in_jax.op_by_vjp(in_jax.twin_lin)):
        assert [leaf.shape for leaf in run(*args)] == [(2, 4), (2, 5), (5, 4), (4,)]
