"""Other people's rules, right and wrong ones: each kind on which a checker of gradients is easily mistaken.

A right rule that fails makes people switch the checker off, and a wrong one that passes is worse than none. So each
kind has a right and, where it makes sense, a wrong rule, and the verdict that is wanted.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jax.custom_batching import custom_vmap

from pullback import parity

RNG = np.random.default_rng(11)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ruled(plain, bwd, fwd=None):
    op = jax.custom_vjp(plain)
    op.defvjp(fwd or (lambda *args: (plain(*args), args)), bwd)
    return op


def derived(plain, spoil=lambda *bars: bars):
    """A rule whose backward is what jax derives, or a spoiled one."""
    return ruled(lambda *args: plain(*args), lambda args, g: tuple(spoil(*jax.vjp(plain, *args)[1](g))))


def factor(size):
    return lambda *bars: (size * bars[0], *bars[1:])


def verdict(rule, *args, **options):
    """0 all agree, 1 something differs, 3 something could not be judged."""
    report = parity.check(rule, *args, **options)
    return report.exit_code


FEW: Any = {"checks": ("values",), "dtypes": ()}


def one_pass(x):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) - mean * mean + 1e-5)


# What could not be judged is no agreement.


def test_what_cannot_be_judged_is_the_third_verdict():
    x = (40 + np.float32(0.02) * normal(4, 24)).astype(np.float32)
    report = parity.check(derived(one_pass), x, reference=one_pass, **FEW)
    assert report.exit_code == 3 and not report.ok and report.culprits == []
    (y, bar) = sorted((u for u in report.unjudged if "primal" not in u.leaf), key=lambda u: u.leaf, reverse=True)
    assert (y.leaf, bar.leaf) == ("float32 y", "float32 args[0]_bar") and bar.count == bar.size == 5 * 96
    assert "float64" in bar.remedy and bar.reason
    assert str(report).splitlines()[-1].startswith("NOT JUDGED: ")
    assert parity.check(derived(one_pass), x, reference=one_pass, allow_unjudged=True, **FEW).ok


def test_and_a_wrong_gradient_that_cannot_be_judged_in_its_dtype_is_wrong_all_the_same():
    x = (40 + np.float32(0.02) * normal(4, 24)).astype(np.float32)
    assert verdict(derived(one_pass, factor(2)), x, reference=one_pass, **FEW) == 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("fill", [-1e30, -np.inf, None])
def test_the_usual_masks_are_judged(dtype, fill):
    mask = np.tril(np.ones((5, 5), bool))

    def plain(q, k, v):
        scores = q @ k.T * q.shape[-1] ** -0.5
        least = jnp.finfo(scores.dtype).min if fill is None else fill
        return jax.nn.softmax(jnp.where(mask, scores, least), axis=-1) @ v

    args = [np.asarray(jnp.asarray(normal(5, 8), dtype)) for _ in range(3)]
    assert verdict(derived(plain), *args, reference=plain, **FEW) == 0
    half_of_v = lambda q_bar, k_bar, v_bar: (q_bar, k_bar, v_bar.at[1:3].multiply(0.5))  # noqa: E731
    assert verdict(derived(plain, half_of_v), *args, reference=plain, **FEW) == 1


# NaN and infinity.


def test_nan_against_a_number_is_named_with_its_place():
    x = normal(4, 5)
    x[2] = 0
    report = parity.check(
        lambda x: x / jnp.sqrt((x * x).sum(-1, keepdims=True)), x, torch=lambda x: F.normalize(x, dim=-1), **FEW
    )
    assert report.exit_code == 1
    problems = {row.leaf: row.deviations["rule"].problem for row in report.rows}
    assert problems["y"] == "is NaN at [2, :], where 0 is right"
    assert (problems["x_bar"] or "").startswith("is NaN at ")


def test_infinity_against_a_number():
    x = np.abs(normal(3, 4))
    x[1, 2] = 0
    assert verdict(lambda x: jnp.log(x).sum(-1), x, torch=lambda x: (x + 1e-6).log().sum(-1), **FEW) == 1


# Depth.


@pytest.mark.parametrize(("spoil", "wanted"), [(1, 0), (1.0002, 1)])
def test_eight_blocks_are_judged(spoil, wanted):
    weights = [normal(12, 12) / 4 for _ in range(8)]

    def net(x):
        for w in weights:
            centred = x - x.mean(-1, keepdims=True)
            normalized = centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
            x = x + jnp.tanh(normalized @ w)
        return x

    report = parity.check(derived(net, factor(spoil)), normal(4, 12), reference=net, **FEW)
    assert report.exit_code == wanted
    assert all((row.floor or 0) < 1e-4 for row in report.rows)


# Slices.


def test_a_batching_rule_that_mixes_slices():
    @custom_vmap
    def slope(x, g):
        return -jnp.sin(x) * g

    @slope.def_vmap
    def _(size, batched, x, g):
        x = jnp.broadcast_to(x.mean(0), x.shape) if batched[0] else x[None]
        return -jnp.sin(x) * (g if batched[1] else g[None]), True

    cos = ruled(lambda x: jnp.cos(x), lambda args, g: (slope(args[0], g),))
    report = parity.check(cos, normal(6), reference=jnp.cos, checks=["transformations"])
    failing = {finding.about for finding in report.findings if finding.status == "FAIL"}
    assert report.exit_code == 1 and failing == {"vmap"}


# Primitives without a rule of their own, and what must not be moved.


def trigamma(x):
    return jax.scipy.special.polygamma(1, x)


@pytest.mark.parametrize(("sign", "wanted"), [(1, 0), (-1, 1)])
def test_the_order_of_polygamma_stays_whole(sign, wanted):
    rule = ruled(lambda x: trigamma(x), lambda args, g: (sign * g * jax.scipy.special.polygamma(2, args[0]),))
    assert verdict(rule, np.abs(normal(5)) + np.float32(0.4), reference=trigamma, **FEW) == wanted


@pytest.mark.parametrize(("spoil", "wanted"), [(1, 0), (1.5, 1)])
def test_ties_of_a_segment_minimum(spoil, wanted):
    segments = np.array([0, 1, 1, 0, 2, 2, 1], np.int32)

    def plain(x):
        return jax.ops.segment_min(jnp.sin(x), segments, 3)

    assert verdict(derived(plain, factor(spoil)), normal(7), reference=plain, **FEW) == wanted


@pytest.mark.parametrize(("spoil", "wanted"), [(1, 0), (2, 1)])
def test_bits_taken_apart(spoil, wanted):
    def plain(x):
        bits = jax.lax.bitcast_convert_type(jnp.sin(x), jnp.int32)
        return jnp.where(bits < 0, -1, 1).astype(x.dtype) * x * x

    assert verdict(derived(plain, factor(spoil)), normal(6), reference=plain, **FEW) == wanted


@pytest.mark.parametrize(("spoil", "wanted"), [(1, 0), (1.2, 1)])
def test_places_that_are_computed(spoil, wanted):
    def plain(x, table):
        at = jnp.clip((jnp.sin(x) * 3 + 4).astype(jnp.int32), 0, 7)
        return jnp.zeros(8, x.dtype).at[at].add(table[at] * x)

    assert verdict(derived(plain, factor(spoil)), normal(20), normal(8), reference=plain, **FEW) == wanted


# Arithmetic that is coarser than the arguments.


def layer_norm(x, w):
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * jnp.broadcast_to(w, x.shape)


def rms_norm(x, w):
    wide = x.astype(jnp.float32)
    normalized = wide * jax.lax.rsqrt((wide * wide).mean(-1, keepdims=True) + 1e-6)
    return normalized.astype(x.dtype) * jnp.broadcast_to(w, x.shape)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_with_float32_inside(dtype):
    rule = derived(lambda x, w: layer_norm(x.astype(jnp.float32), w.astype(jnp.float32)).astype(x.dtype))
    args = [np.asarray(jnp.asarray(a, dtype)) for a in (normal(3, 8), normal(8))]
    assert verdict(rule, *args, reference=layer_norm, checks=["values", "numerical", "dtypes"]) == 0


def test_float32_inside_is_told_in_the_float64_row():
    report = parity.check(derived(rms_norm), normal(3, 8), normal(8), reference=rms_norm, checks=["values", "dtypes"])
    assert report.ok

    def plain(x, w):
        return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6) * jnp.broadcast_to(w, x.shape)

    report = parity.check(derived(rms_norm), normal(3, 8), normal(8), reference=plain, checks=["values", "dtypes"])
    assert report.ok
    notes = {f.about: f.text for f in report.findings if f.check == "arithmetic"}
    assert notes["float64 rule"] == "the maths is right; it computes in float32"


def test_a_coarser_arithmetic_is_accepted_by_name_only():
    def plain(x):
        return jnp.sin(x) * x

    def halved(x):
        narrow = x.astype(jnp.bfloat16)
        return (jnp.sin(narrow) * narrow).astype(x.dtype)

    x = normal(6)
    report = parity.check(derived(halved), x, reference=plain, **FEW)
    assert report.exit_code == 1
    said = {text for row in report.rows for text in row.diagnosis.values()}
    assert said == {"the maths is right; it computes in bfloat16 (arithmetic='bfloat16' accepts that)"}
    assert verdict(derived(halved), x, reference=plain, arithmetic="bfloat16", dtypes=()) == 0
    assert verdict(derived(halved, factor(1.5)), x, reference=plain, arithmetic="bfloat16", **FEW) == 1


def float32_only(function):
    def only(x):
        if x.dtype != jnp.float32:
            raise TypeError("this kernel takes float32")
        return function(x)

    return only


@pytest.mark.parametrize(("spoil", "wanted"), [(1, 0), (0.5, 1)])
@pytest.mark.parametrize("reference", [jnp.sin, float32_only(jnp.sin)])
def test_a_function_of_float32_only(reference, spoil, wanted):
    rule = ruled(float32_only(jnp.sin), lambda x, g: (spoil * g * jnp.cos(x),), lambda x: (float32_only(jnp.sin)(x), x))
    report = parity.check(rule, normal(8), reference=reference, checks=["values", "dtypes", "numerical"])
    assert report.exit_code == wanted
    notes = [finding.text for finding in report.findings if finding.check == "dtypes"]
    assert len(notes) == 3 and all("not offered in it" in text for text in notes)


@pytest.mark.parametrize(("spoil", "wanted"), [(1, 0), (1.2, 1)])
def test_products_of_bfloat16_inside(spoil, wanted):
    def port(x, w):
        return jnp.tanh(spoil * (x.astype(jnp.bfloat16) @ w.astype(jnp.bfloat16)).astype(x.dtype))

    def original(x, w):
        return torch.tanh((x.bfloat16() @ w.bfloat16()).to(x.dtype))

    assert verdict(port, normal(4, 5), normal(5, 3), torch=original, checks=["values", "dtypes"]) == wanted


def test_tables_of_float32_that_torch_makes_in_its_own_dtype():
    angles = (np.arange(5)[:, None] * 1000.0 ** -(np.arange(3) / 3)).astype(np.float32)
    cos, sin = np.cos(angles), np.sin(angles)

    def port(x):
        a, b = x[:, :3], x[:, 3:]
        return jnp.concatenate([a * cos.astype(x.dtype) - b * sin.astype(x.dtype), b], -1)

    def original(x):
        a, b = x[:, :3], x[:, 3:]
        wide = torch.arange(5, dtype=x.dtype)[:, None] * 1000.0 ** -(torch.arange(3, dtype=x.dtype) / 3)
        return torch.cat([a * wide.cos() - b * wide.sin(), b], -1)

    assert verdict(port, normal(5, 6), torch=original, checks=["values", "dtypes"]) == 0


@pytest.mark.parametrize(("spoil", "wanted"), [(1, 0), (1.001, 1)])
def test_torch_with_weights_of_float32(spoil, wanted):
    w = normal(4, 3)
    theirs = torch.from_numpy(w)
    port = lambda x: jnp.tanh(spoil * (x @ w))  # noqa: E731
    assert verdict(port, normal(5, 4), torch=lambda x: torch.tanh(x @ theirs), checks=["values"]) == wanted


def test_torch_that_adds_in_half_precision_is_noted():
    def one_by_one(x, w):
        total = torch.zeros(len(x), w.shape[1], dtype=x.dtype)
        for i in range(len(w)):
            total = total + x[:, i : i + 1] * w[i]
        return total

    x, w = normal(4, 400), normal(400, 3)
    matmul = lambda x, w: jnp.matmul(x, w, preferred_element_type=jnp.float32).astype(x.dtype)  # noqa: E731
    report = parity.check(matmul, x, w, torch=one_by_one, dtypes=["float16"], checks=["values"])
    (said,) = [f.text for f in report.findings if f.about == "float16 torch"]
    assert report.exit_code == 0 and said.startswith("it agrees in float64; in float16 its ")


# Random draws.


def dropout(x, key):
    return jnp.where(jax.random.bernoulli(key, 0.7, x.shape), x / 0.7, 0)


@pytest.mark.parametrize(("same", "wanted"), [(True, 0), (False, 1)])
def test_a_mask_that_is_drawn_with_a_key(same, wanted):
    def bwd(key, g):
        return dropout(g, key if same else jax.random.fold_in(key, 1)), None

    rule = ruled(lambda x, key: dropout(x, key), bwd, lambda x, key: (dropout(x, key), key))
    args = normal(20), jax.random.key(4)
    assert verdict(rule, *args, reference=dropout, checks=["values", "dtypes", "numerical"]) == wanted


# Gradients that are stopped on purpose.


def test_a_reversed_gradient():
    rule = ruled(lambda x: x + 0, lambda _, g: (-g,), lambda x: (x + 0, None))
    report = parity.check(rule, normal(6), reference=lambda x: jax.lax.stop_gradient(2 * x) - x)
    assert report.ok
    (slope,) = (finding for finding in report.findings if finding.check == "numerical")
    assert slope.status == "note" and "stopped on purpose" in slope.text


def test_a_row_without_a_gradient():
    ids = np.array([[2, 0, 3], [1, 0, 0]], np.int32)

    def port(table):
        return jnp.concatenate([jax.lax.stop_gradient(table[:1]), table[1:]])[ids]

    original = lambda table: F.embedding(torch.from_numpy(ids).long(), table, padding_idx=0)  # noqa: E731
    assert verdict(port, normal(4, 3), torch=original, checks=["values", "numerical"]) == 0


def test_a_derivative_of_jaxs_own_that_is_wrong():
    digamma = jax.scipy.special.digamma
    x = np.array([-8.478, 1.25], np.float32)
    report = parity.check(digamma, x, reference=digamma, checks=["numerical"])
    assert report.exit_code == 1, "rule and reference agree, nothing stops a gradient, and the slope is another"


@pytest.mark.parametrize("shape", [(4, 1), (3, 10)])
def test_layer_norms_far_from_zero_and_along_one_element(shape):
    x, w = (25 + normal(*shape)).astype(np.float32), normal(shape[-1])
    original = lambda x, w: F.layer_norm(x, shape[-1:], w)  # noqa: E731
    assert verdict(layer_norm, x, w, torch=original, checks=["values", "numerical"]) == 0
    assert verdict(derived(layer_norm), x, w, reference=layer_norm, torch=original, checks=["values", "numerical"]) == 0


def test_another_way_of_computing_loses_digits_and_is_right():
    def port(x, w):
        mean = x.mean(-1, keepdims=True)
        variance = jnp.maximum(0, (x * x).mean(-1, keepdims=True) - mean * mean)
        return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * jnp.broadcast_to(w, x.shape)

    x, w = (12 + normal(4, 10)).astype(np.float32), normal(10)
    report = parity.check(derived(port), x, w, reference=layer_norm, dtypes=())
    assert report.ok and any(finding.check == "arithmetic" for finding in report.findings)
    assert verdict(derived(port, factor(1.0001)), x, w, reference=layer_norm, **FEW) == 1


# Sums of terms that are alike.


@pytest.mark.parametrize(("spoil", "wanted"), [(1, 0), (1.01, 1)])
def test_a_mean_of_readings_that_are_nearly_the_same(spoil, wanted):
    x = np.stack([290 + 0.1 * normal(30_000), 98_000 + 5 * normal(30_000)], 1).astype(np.float32)
    plain = lambda w: jnp.mean(x @ w)  # noqa: E731
    in_torch = lambda w: (torch.from_numpy(x).to(w.dtype) @ w).mean()  # noqa: E731
    assert verdict(derived(plain, factor(spoil)), normal(2, 1), reference=plain, torch=in_torch, **FEW) == wanted


def test_an_embedding_whose_tokens_repeat():
    ids = np.minimum(RNG.zipf(1.2, 20_000), 49).astype(np.int32)
    weights = (1 + 1e-5 * normal(20_000)).astype(np.float32)
    plain = lambda table: (table[ids] * weights).sum()  # noqa: E731
    in_torch = lambda t: (t[torch.from_numpy(ids).long()] * torch.from_numpy(weights).to(t.dtype)).sum()  # noqa: E731
    assert verdict(derived(plain), normal(50), reference=plain, torch=in_torch, **FEW) == 0


def test_bright_pictures_in_a_convolution():
    pictures = (0.95 + 1e-3 * normal(2, 24, 24, 3)).astype(np.float32)

    def plain(w):
        axes = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            jnp.asarray(pictures, w.dtype), w, (1, 1), "SAME", dimension_numbers=axes
        ).mean()

    def in_torch(w):
        x = torch.from_numpy(pictures).to(w.dtype).permute(0, 3, 1, 2)
        return F.conv2d(x, w.permute(3, 2, 0, 1), padding=1).mean()

    assert verdict(derived(plain), normal(3, 3, 3, 4), reference=plain, torch=in_torch, **FEW) == 0


# 0, 1e-30, and nothing at all.


def test_a_start_without_influence():
    def plain(a, start):
        return jax.lax.scan(lambda x, _: (0.5 * (x + a / x), None), start, None, length=30)[0]

    def bwd(args, g):
        return g * 0.5 / jnp.sqrt(args[0]), jnp.zeros_like(g)

    root = ruled(lambda a, start: plain(a, start), bwd)
    assert verdict(root, np.abs(normal(4)) + np.float32(0.5), np.ones(4, np.float32), reference=plain, dtypes=()) == 0


def test_what_is_saturated():
    def bwd(args, g):
        s = jax.nn.softmax(args[0])
        return (s * (g - (g * s).sum(-1, keepdims=True)),)

    softmax = ruled(lambda x: jax.nn.softmax(x), bwd)
    in_torch = lambda x: torch.softmax(x, -1)  # noqa: E731
    assert verdict(softmax, 40 * normal(3, 5), reference=jax.nn.softmax, torch=in_torch, dtypes=()) == 0


def test_an_empty_batch_is_a_verdict_on_nothing():
    report = parity.check(lambda x, w: jnp.tanh(x @ w), np.zeros((0, 3), np.float32), normal(3, 2), dtypes=())
    assert report.ok and {row.verdict for row in report.rows} == {"empty", "pass"}
    report = parity.check(jnp.sin, np.zeros((0, 3), np.float32), dtypes=())
    assert report.ok and str(report).splitlines()[-1].startswith("PASS, on nothing")


def test_a_mask_of_minus_infinity_as_an_argument():
    mask = np.where(np.tril(np.ones((5, 5), bool)), 0, -np.inf).astype(np.float32)

    def bwd(y, g):
        bar = y * (g - (g * y).sum(-1, keepdims=True))
        return bar, bar

    plain = lambda s, mask: jax.nn.softmax(s + mask)  # noqa: E731
    rule = ruled(lambda s, mask: plain(s, mask), bwd, lambda s, mask: (plain(s, mask),) * 2)
    in_torch = lambda s, mask: torch.softmax(s + mask, -1)  # noqa: E731
    assert verdict(rule, normal(5, 5), mask, reference=plain, torch=in_torch) == 0


@pytest.mark.parametrize(("right", "wanted"), [(True, 0), (False, 1)])
def test_complex_numbers(right, wanted):
    a, b = ((normal(5) + 1j * normal(5)).astype(np.complex64) for _ in range(2))
    turned = (lambda z: z) if right else jnp.conj
    product = ruled(lambda a, b: a * b, lambda args, g: (g * turned(args[1]), g * turned(args[0])))
    plain = lambda a, b: a * b  # noqa: E731
    assert verdict(product, a, b, reference=plain, torch=plain, dtypes=()) == wanted


def test_a_real_loss_of_complex_numbers():
    z = (normal(6) + 1j * normal(6)).astype(np.complex64)
    loss = lambda z: (jnp.abs(jnp.fft.fft(z)) ** 2).sum()  # noqa: E731
    assert verdict(loss, z, torch=lambda z: (torch.fft.fft(z).abs() ** 2).sum()) == 0


# Who is wrong.


PORTS = {
    "eps": (lambda x: layer_norm(x, 1) * 1.0 + 1e-6 * x, lambda x: F.layer_norm(x, (6,))),
    "gelu": (lambda x: jax.nn.gelu(x), F.gelu),
    "slope": (lambda x: jax.nn.leaky_relu(x, 0.011), F.leaky_relu),
    "axis": (lambda x: jax.nn.softmax(x, 0), lambda x: torch.softmax(x, -1)),
    "divisor": (lambda x: x.var(), lambda x: x.var()),
}


@pytest.mark.parametrize("what", PORTS)
def test_a_wrong_port_is_told_to_differ_from_the_original(what):
    port, original = PORTS[what]
    report = parity.check(port, normal(6, 6), torch=original, checks=["values", "numerical"])
    assert report.culprits == ["rule"] and report.exit_code == 1
    assert str(report).splitlines()[-1].startswith("FAIL: your port differs from torch")
    assert "Wrong: torch" not in str(report)


def test_whom_you_trust_is_right():
    options: Any = {"reference": lambda x: 2 * x, "torch": lambda x: 3 * x, **FEW}
    rule = derived(lambda x: 2 * x)
    undecided = parity.check(derived(lambda x: 4 * x), normal(3), **options)
    assert undecided.undecided and undecided.culprits == [] and not undecided.ok
    assert "who is wrong is undecided" in str(undecided).splitlines()[-1]
    assert parity.check(rule, normal(3), **options).culprits == ["torch"], "two against one"
    assert parity.check(rule, normal(3), trusted="reference", **options).culprits == ["torch"]
    assert parity.check(rule, normal(3), trusted="torch", **options).culprits == ["rule", "reference"]
    with pytest.raises(ValueError, match="trusted must be 'torch' or 'reference', and that one given; got 'torch'"):
        parity.check(rule, normal(3), trusted="torch", reference=lambda x: 2 * x)


def test_another_convention_is_undecided():
    a = normal(3, 3)
    a = (a @ a.T + 3 * np.eye(3)).astype(np.float32)
    upper = lambda a: jax.lax.linalg.cholesky(jnp.triu(a) + jnp.triu(a, 1).T, symmetrize_input=False)  # noqa: E731
    report = parity.check(
        derived(upper), a, reference=jnp.linalg.cholesky, torch=torch.linalg.cholesky, checks=["values"]
    )
    assert report.undecided and report.culprits == [] and report.exit_code == 1
    assert "measured slope of its own forward" in report.undecided


def test_a_loss_whose_torch_is_right_too():
    def plain(x, t):
        return jnp.maximum(x, 0) - x * t + jnp.log1p(jnp.exp(-jnp.abs(x)))

    rule = ruled(lambda x, t: plain(x, t), lambda args, g: (g * (jax.nn.sigmoid(args[0]) - args[1]), -g * args[0]))
    in_torch = lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction="none")  # noqa: E731
    x = np.array([0, -0.0, 2, -3, 30], np.float32)
    assert verdict(rule, x, RNG.random(5, np.float32), reference=plain, torch=in_torch, dtypes=()) in (0, 1)
    assert verdict(rule, x[2:], RNG.random(3, np.float32), reference=plain, torch=in_torch) == 0
