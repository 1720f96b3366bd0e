import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.parity.case.arguments import take_apart
from pullback.parity.case.cotangents import draw_cotangents
from pullback.parity.case.in_jax import InJax
from pullback.parity.case.in_torch import InTorch
from pullback.parity.lesson import in_jax as lesson

X = np.array([[1.0, -2.0, 4.0], [3.0, 0.5, -1.0]], np.float32)
G = np.array([X, 2 * X])


def run(fun, *args, cotangents=(G,), kwargs=None, static_argnums=(), rule=lambda *args: args):
    taken = take_apart(rule, args, None, static_argnums)
    return InTorch(taken, fun, kwargs or {})(taken.leaves, list(cotangents))


def alike(ours, theirs, *args):
    """Both frameworks, on whole numbers: the same names, dtypes and bits."""
    taken = take_apart(ours, args)
    in_jax = InJax(taken, taken.flat(ours))
    cotangents = draw_cotangents(in_jax.traced(taken.leaves).floats, seed=0)
    want = in_jax.run(taken.leaves, cotangents)
    got = InTorch(taken, theirs, {})(taken.leaves, cotangents)
    assert list(got) == list(want)
    for name, leaf in got.items():
        assert leaf.dtype == want[name].dtype or leaf.dtype.kind == "i", name
        np.testing.assert_array_equal(leaf, np.asarray(want[name]), err_msg=name)
    return got


def test_one_output():
    got = alike(lambda x, w: x * w, lambda x, w: x * w, X, X + 1)
    assert list(got) == ["y", "y (primal)", "x_bar", "w_bar"]


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_half_precision(dtype):
    assert alike(lambda x: 2 * x, lambda x: 2 * x, X.astype(dtype))["x_bar"].dtype == dtype


def test_several_outputs():
    got = alike(lambda x: (2 * x, x[0]), lambda x: [2 * x, x[0]], X)
    assert list(got)[:2] == ["y[0]", "y[1]"]


def test_outputs_in_a_dict_are_sorted_as_jax_sorts_them():
    got = alike(lambda x: {"a": x[0], "b": 3 * x}, lambda x: {"b": 3 * x, "a": x[0]}, X)
    assert list(got)[:2] == ["y['a']", "y['b']"]


def test_integer_outputs():
    got = alike(lambda x: (jnp.argmax(x), 2 * x), lambda x: (torch.argmax(x), 2 * x), X)
    assert got["y[0]"] == 2


def test_an_input_that_is_not_used_gets_zeros():
    got = run(lambda x, w: 2 * x, X, X[0], rule=lambda x, w: x)
    np.testing.assert_array_equal(got["w_bar"], np.zeros((2, 3)))
    np.testing.assert_array_equal(got["x_bar"], 2 * G)


def test_trees_and_integer_arguments():
    net = {"w": X, "rows": np.array([1, 0])}
    taken = alike(lambda net, x: net["w"][net["rows"]] * x, lambda net, x: net["w"][net["rows"]] * x, net, X)
    assert "net['w']_bar" in taken and "net['rows']_bar" not in taken


def test_static_and_keyword_arguments():
    got = run(
        lambda x, axis, factor: factor * x.sum(axis),
        X,
        0,
        cotangents=[G[:, 0]],
        kwargs={"factor": 3},
        static_argnums=(1,),
        rule=lambda x, axis: x,
    )
    np.testing.assert_array_equal(got["y"], 3 * X.sum(0))
    np.testing.assert_array_equal(got["x_bar"], np.stack([3 * G[:, 0]] * 2, 1))


def test_the_gradient_is_asked_for_each_cotangent():
    calls = []

    def fun(x):
        calls.append(x)
        return x * x

    np.testing.assert_array_equal(run(fun, X, rule=lambda x: x)["x_bar"], 2 * X * G)
    assert len(calls) == 1, "one forward for all"


def test_what_torch_writes_into_its_inputs_stays_there():
    x = X.copy()

    def fun(x):
        x.data.mul_(2)
        return x * 1

    run(fun, x, rule=lambda x: x)
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: (x, x.detach() * 2),
        lambda x: (x, torch.tensor(x.tolist())),
        lambda x: (x, torch.from_numpy(x.detach().numpy())),
    ],
)
def test_a_detached_output(fun):
    with pytest.raises(ValueError) as caught:
        run(fun, X, cotangents=(G, G))
    assert str(caught.value) == (
        "the torch function's output y[1] is detached from its inputs: no .detach(), .numpy(), .item() or "
        "torch.no_grad() between them"
    )


def test_no_grad():
    with pytest.raises(ValueError, match="output y is detached"):
        run(torch.no_grad()(lambda x: 2 * x), X)


@pytest.mark.parametrize(("leaf", "kind"), [(lambda x: x.detach().numpy(), "ndarray"), (lambda x: 2.5, "float")])
def test_an_output_that_is_no_tensor(leaf, kind):
    with pytest.raises(TypeError) as caught:
        run(lambda x: {"a": x, "b": leaf(x)}, X)
    assert str(caught.value) == f"the torch function must return tensors; its output y['b'] is a {kind}"


def test_another_shape():
    with pytest.raises(ValueError) as caught:
        run(lambda x: (x, x[:1]), X, cotangents=(G, G))
    assert str(caught.value) == "the torch function's output y[1] has shape (1, 3), the rule's (2, 3)"


def test_another_shape_after_an_integer_output():
    with pytest.raises(ValueError, match=r"output y\[1\] has shape \(1, 3\)"):
        run(lambda x: (x.argmax(), x[:1]), X)


def test_another_number_of_outputs():
    with pytest.raises(ValueError) as caught:
        run(lambda x: (x, x), X)
    assert str(caught.value) == "the torch function has 2 floating-point outputs, the rule 1"


def test_no_output():
    with pytest.raises(ValueError, match="has 0 floating-point outputs, the rule 1"):
        run(lambda x: None, X)


def test_it_is_what_the_main_jobs_torch_says():
    w, b = X.T.copy(), np.array([1.0, 2.0], np.float32)
    with jax.default_matmul_precision("highest"):
        alike(lesson.twin_lin, lambda x, w, b: x @ w + b, X, w, b)


def of(fun, *args, **options):
    taken = take_apart(fun, args, **options)
    return InTorch(taken, fun, {}), taken.leaves


Z = (X + 2j * X[::-1]).astype(np.complex64)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda z, x: z * z * x.astype(z.dtype), lambda z, x: z * z * x),
        (lambda z, x: jnp.conj(z) * x.astype(z.dtype), lambda z, x: torch.conj(z) * x),
        (lambda z, x: (jnp.real(z) * x, jnp.imag(z)), lambda z, x: (torch.real(z) * x, torch.imag(z))),
        (lambda z, x: jax.lax.complex(x, x) * z, lambda z, x: torch.complex(x, x) * z),
    ],
    ids=["holomorphic", "conjugated", "to real numbers", "from real numbers"],
)
def test_complex_cotangents_are_jaxs(ours, theirs):
    # On whole numbers, but not on whole cotangents: those of torch are the conjugates, and so are what it is given.
    taken = take_apart(ours, (Z, X))
    in_jax = InJax(taken, taken.flat(ours))
    cotangents = [np.round(2 * c) for c in draw_cotangents(in_jax.traced(taken.leaves).floats, seed=0)]
    want, got = in_jax(taken.leaves, cotangents), InTorch(taken, theirs, {})(taken.leaves, cotangents)
    assert got["z_bar"].dtype == np.complex64 and got["x_bar"].dtype == np.float32
    assert set(got) == set(want)
    for name, leaf in got.items():
        np.testing.assert_array_equal(leaf, want[name], err_msg=name)


def test_a_complex_output_that_is_detached():
    with pytest.raises(ValueError, match="output y is detached"):
        run(lambda z: 2 * z.detach(), Z)


def test_a_leaf_that_is_not_differentiated_is_passed_on_without_a_gradient():
    seen = []

    def fun(x, mask):
        seen.append((x.requires_grad, mask.requires_grad, mask.dtype))
        return x * mask

    run, leaves = of(fun, X, X + 1, nondiff=["mask"])
    got = run(leaves, [G])
    assert seen == [(True, False, torch.float32)]
    assert list(got) == ["y", "y (primal)", "x_bar"]
    np.testing.assert_array_equal(got["x_bar"], G * (X + 1))


def test_a_leaf_that_is_not_differentiated_is_no_detached_output():
    run, leaves = of(lambda x, table: (x * 2, table + 0 * x), X, X, nondiff=["table"])
    np.testing.assert_array_equal(run(leaves, [G, G])["x_bar"], 2 * G)
