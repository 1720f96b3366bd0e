import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback import parity
from pullback.data import get_data, normalize
from pullback.functional import (
    Layer,
    Lin,
    Mse,
    Relu,
    as_op,
    forward_and_backward,
    init_mlp,
    mlp,
    mlp_loss,
    no_params,
    serial,
    shifted_relu_bwd,
    shifted_relu_fwd,
    torch_linear,
    xavier_normal,
)
from pullback.parity.case.stripping import custom_rules

KEY = jax.random.key(0)


def mnist(n=64):
    x_train, y_train, *_ = get_data("sample")
    x = normalize(x_train[:n], x_train.mean(), x_train.std())
    return jnp.asarray(x), jnp.asarray(y_train[:n].astype(np.float32))


def by_layers(model, params, x, targ):
    loss, residuals = model.forward(params, x, targ)
    grads, x_bar, targ_bar = model.backward(residuals, jnp.ones_like(loss))
    return loss, grads, x_bar, targ_bar


def net(*sizes):
    layers = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [Lin(fan_in, fan_out), Relu()]
    return serial(*layers[:-1], Mse())


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("sizes", [(784, 1), (784, 50, 1), (784, 50, 20, 1)])
def test_bitwise_equal_to_forward_and_backward(sizes, compiled):
    x, targ = mnist()
    model, params = net(*sizes), init_mlp(KEY, sizes)
    assert jax.tree.structure(model.init(KEY)) == jax.tree.structure(params)
    run = lambda *args: by_layers(model, *args)[:3]  # noqa: E731
    run, whole = (jax.jit(run), jax.jit(forward_and_backward)) if compiled else (run, forward_and_backward)
    got, want = run(params, x, targ), whole(params, x, targ)
    assert np.any(want[2])
    chex.assert_trees_all_equal(got, want, strict=True)


def test_without_a_loss_it_is_mlp():
    x, _ = mnist(8)
    model, params = serial(Lin(784, 5), Relu(), Lin(5, 1)), init_mlp(KEY, (784, 5, 1))
    y, residuals = model.forward(params, x)
    np.testing.assert_array_equal(y, mlp(params, x))
    assert len(model.backward(residuals, y)) == 2


def test_nested():
    x, targ = mnist(8)
    (w1, b1), (w2, b2) = params = init_mlp(KEY, (784, 5, 1))
    model = serial(serial(Lin(784, 5), Relu()), serial(serial(Lin(5, 1)), Mse()))
    nested = [[(w1, b1)], [[(w2, b2)]]]
    assert jax.tree.structure(model.init(KEY)) == jax.tree.structure(nested)
    loss, grads, x_bar, targ_bar = by_layers(model, nested, x, targ)
    want = by_layers(net(784, 5, 1), params, x, targ)
    chex.assert_trees_all_equal((loss, x_bar, targ_bar), (want[0], *want[2:]))
    assert jax.tree.structure(grads) == jax.tree.structure(nested)
    chex.assert_trees_all_equal(jax.tree.leaves(grads), jax.tree.leaves(want[1]))


def test_a_relu_at_the_end_and_layers_without_parameters():
    model = serial(Relu(), Relu())
    x = jnp.asarray([[-1.0, 2.0]])
    y, residuals = model.forward(None, x)
    np.testing.assert_array_equal(y, [[0, 2]])
    assert model.init(KEY) is None and not model.has_params
    params_bar, x_bar = model.backward(residuals, jnp.full_like(y, 3))
    assert params_bar is None
    np.testing.assert_array_equal(x_bar, [[0, 3]])
    # So it takes no place among the parameters of a net that it is part of.
    nested = serial(model, Lin(2, 1))
    params = nested.init(KEY)
    assert len(params) == 1
    chex.assert_trees_all_equal(nested.forward(params, x)[0], mlp(params, y))


def test_a_layer_has_parameters_if_its_init_returns_any():
    """Whichever function that is: a layer of one's own need not use `no_params`."""

    def drawn_by_numpy(key):
        seed = int(jax.random.key_data(key)[-1])
        return np.random.default_rng(seed).standard_normal(3).astype(np.float32)

    def scaled(init):
        return Layer(
            init, lambda params, x: (x if params is None else params * x, None), lambda kept, y_bar: (0, y_bar)
        )

    inits = {False: [no_params, lambda key: None], True: [drawn_by_numpy, lambda key: jnp.ones(3), lambda key: ()]}
    for has, some in inits.items():
        assert [scaled(init).has_params for init in some] == [has] * len(some)
    model = serial(*(scaled(init) for init in (no_params, drawn_by_numpy, lambda key: None, lambda key: jnp.ones(3))))
    params = model.init(KEY)
    assert [leaf.shape for leaf in params] == [(3,), (3,)]
    x = jnp.asarray([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(model.forward(params, x)[0], params[0] * x)


def test_init_of_a_layer():
    (w, b), *_ = serial(Lin(30, 20, xavier_normal), Lin(20, 1)).init(KEY)
    np.testing.assert_array_equal(w, xavier_normal(jax.random.split(KEY, 2)[0], (30, 20)))
    assert not b.any() and b.dtype == w.dtype
    (w, b) = Lin(30, 20, torch_linear).init(KEY)
    np.testing.assert_array_equal(b, torch_linear(KEY, (30, 20))[1])
    assert b.any()


def test_the_loss_has_two_inputs_and_both_have_a_cotangent():
    output, targ = jnp.asarray([[1.0], [3.0]]), jnp.asarray([0.0, 1.0])
    loss, residuals = Mse().forward(None, output, targ)
    nothing, output_bar, targ_bar = Mse().backward(residuals, jnp.float32(1))
    assert loss == 2.5 and nothing is None
    np.testing.assert_array_equal(output_bar, [[1], [2]])
    np.testing.assert_array_equal(targ_bar, [-1, -2])


def test_as_op_is_what_jax_grad_calls():
    x, targ = mnist(8)
    params, loss = init_mlp(KEY, (784, 5, 1)), as_op(net(784, 5, 1))
    assert custom_rules(jax.make_jaxpr(loss)(params, x, targ)) == ["op (custom_vjp)"]
    got = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(params, x, targ)
    want = jax.jit(jax.value_and_grad(mlp_loss, (0, 1, 2)))(params, x, targ)
    chex.assert_trees_all_equal(got, want)
    # It calls the raw primal, so second derivatives work as well.
    square = lambda f: jax.hessian(lambda b: f([(params[0][0], b), params[1]], x, targ))(params[0][1])  # noqa: E731
    chex.assert_trees_all_close(square(loss), square(mlp_loss), rtol=1e-5)


def test_parameters_may_come_in_any_container():
    x, targ = mnist(8)
    params, loss = init_mlp(KEY, (784, 5, 1)), as_op(net(784, 5, 1))
    want = jax.tree.leaves(jax.grad(loss)(params, x, targ))
    for other in (tuple(params), [list(layer) for layer in params]):
        got = jax.grad(loss)(other, x, targ)
        assert jax.tree.structure(got) == jax.tree.structure(other)
        chex.assert_trees_all_equal(jax.tree.leaves(got), want)


def test_parity_finds_a_wrong_layer_of_a_user():
    def backward(residuals, y_bar):
        return None, y_bar  # forgets the 2

    doubled = Layer(no_params, lambda params, x: (2 * x, None), backward)
    x = np.asarray(np.random.default_rng(0).standard_normal((4, 3))).astype(np.float32)
    report = parity.check(as_op(serial(doubled)), None, x, reference=lambda params, x: 2 * x)
    assert not report.ok and report.culprits == ["rule"]


def test_the_lessons_chain_with_the_shifted_relu():
    def backward(residuals, y_bar):
        x_bar, _shift_bar = shifted_relu_bwd(residuals, y_bar)
        return None, x_bar

    def plain(relu):
        def loss(params, x, targ):
            (w1, b1), (w2, b2) = params
            output = (relu(x @ w1 + b1[None]) - 0.5) @ w2 + b2[None]
            return ((output.reshape(targ.shape) - targ) ** 2).mean()

        return loss

    x, targ = mnist(16)
    shifted = Layer(no_params, lambda params, x: shifted_relu_fwd(x), backward)
    model = serial(Lin(784, 10), shifted, Lin(10, 1), Mse())
    report = parity.check(
        as_op(model),
        *(model.init(KEY), x, targ),
        reference=plain(jax.nn.relu),
        torch=plain(torch.relu),
        checks=["values"],
    )
    report.raise_if_failed()
    assert len({row.leaf for row in report.rows}) == 7, "the loss, and the cotangents of w1, b1, w2, b2, x and targ"


def test_no_layers_and_no_layer(as_a_user):
    with pytest.raises(ValueError, match="serial: needs at least one layer"):
        serial()
    with pytest.raises(TypeError, match=r"serial: layers\[1\] must be a Layer; got Relu: call it"):
        serial(Lin(2, 2), Relu)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"serial: layers\[0\] must be a Layer; got list$"):
        serial([Lin(2, 2)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("params", "got"), [([], "0"), ([(1, 2)] * 3, "3"), ((1,), "1"), (None, "NoneType"), ({"w": 1}, "dict")]
)
def test_params_that_do_not_fit(as_a_user, params, got):
    expected = f"serial: params must be a list with one entry for each of the 2 layers that have any; got {got}"
    with pytest.raises(ValueError, match=expected):
        serial(Lin(3, 2), Relu(), Lin(2, 1)).forward(params, jnp.ones((1, 3)))


def test_what_does_not_fit_is_named(as_a_user):
    model = serial(Lin(3, 2), Relu(), Lin(2, 1), Mse())
    params = model.init(KEY)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'targ'"):
        model.forward(params, jnp.ones((1, 3)))
    with pytest.raises(ValueError, match="lin: the last axis of x must be fan_in = 3"):
        model.forward(params, jnp.ones((1, 4)), jnp.ones(1))
    with pytest.raises(ValueError, match="kaiming_normal: shape must be .* got \\(3, 0\\)"):
        Lin(3, 0).init(KEY)
