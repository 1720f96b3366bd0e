"""No accelerator is here, so one is emulated: every product of float32 matrices, forward and backward, is replaced by
what a GPU or a TPU would multiply."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Literal

from pullback.data import load_mnist
from pullback.parity import check_mnist
from pullback.parity.case.in_jax import InJax
from pullback.parity.lesson import in_jax, mnist
from pullback.parity.lesson.mnist import batch, draw_params, net_comparison
from pullback.parity.lesson.operators import operator_comparisons
from pullback.parity.lesson.result import Result
from pullback.parity.probes.probe import PROBES
from pullback.parity.roundoff import products as precision
from pullback.parity.roundoff.products import BFLOAT16, BFLOAT16_3, BFLOAT16_6, FLOAT32, TF32, Products, products_of
from pullback.parity.verdict.comparison import Comparison

F32 = np.dtype(np.float32)
OURS = ["by hand", "custom_vjp", "jax.grad"]
RAN = Comparison.__dict__["_ran"].func
"""What a comparison gets when it calls each of its implementations."""

# The products of accelerators: (dot, a, b) -> a b.


def nearest(bits: int) -> Callable[[Any], Any]:
    """To so many bits after the leading one. (A cast to bfloat16 and back, XLA may leave out.)"""
    return lambda x: jax.lax.reduce_precision(x, 8, bits)


def cut(x: Any) -> Any:
    """To TF32 as Hopper does it: the last 13 bits are dropped."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32) & jnp.uint32(0xFFFFE000)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def once(rounded: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda dot, a, b: dot(rounded(a), rounded(b))


def passes(pieces: int) -> Callable[..., Any]:
    """Each operand as a sum of bfloat16 numbers, hi first; the passes that matter, the smallest first."""

    def split(x: Any) -> list[Any]:
        parts = []
        for _ in range(pieces):
            parts.append(nearest(7)(x))
            x = x - parts[-1]
        return parts

    def product(dot: Any, a: Any, b: Any) -> Any:
        a, b = split(a), split(b)
        pairs = sorted(((i, j) for i in range(pieces) for j in range(pieces - i)), key=sum, reverse=True)
        return sum(dot(a[i], b[j]) for i, j in pairs)

    return product


EMULATED: dict[str, tuple[Callable[..., Any], Products]] = {
    "TF32": (once(nearest(10)), TF32),
    "TF32, cut off": (once(cut), TF32),
    "bfloat16": (once(nearest(7)), BFLOAT16),
    "bfloat16, 3 passes": (passes(2), BFLOAT16_3),
    "bfloat16, 6 passes": (passes(3), BFLOAT16_6),
}


def with_products(fun: Callable[..., Any], product: Callable[..., Any]) -> Callable[..., Any]:
    """`fun`, whose every product of float32 matrices is this one: its jaxpr, evaluated anew."""

    def run(*args: Any) -> Any:
        closed, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
        outputs = evaluate(closed, jax.tree.leaves(args), product)
        return jax.tree.structure(shapes).unflatten(outputs)

    return run


def evaluate(closed: Any, args: Any, product: Callable[..., Any]) -> list[Any]:
    jaxpr = getattr(closed, "jaxpr", closed)
    env = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*getattr(closed, "consts", ()), *args), strict=True))
    for eqn in jaxpr.eqns:
        inputs = [atom.val if isinstance(atom, Literal) else env[atom] for atom in eqn.invars]
        inner = next((eqn.params[key] for key in ("jaxpr", "call_jaxpr") if key in eqn.params), None)
        if eqn.primitive.name == "dot_general" and all(atom.aval.dtype == F32 for atom in eqn.invars):
            outputs = [product(lambda a, b, eqn=eqn: eqn.primitive.bind(a, b, **eqn.params), *inputs)]
        elif eqn.primitive.name == "cond":
            branches = [lambda *rest, b=b: evaluate(b, rest, product) for b in eqn.params["branches"]]
            outputs = jax.lax.switch(inputs[0], branches, *inputs[1:])
        elif eqn.primitive.name == "scan":
            outputs = looped(eqn.params, inputs, product)
        elif inner is not None:
            outputs = evaluate(inner, inputs, product)
        else:
            outputs = eqn.primitive.bind(*inputs, **eqn.params)
            outputs = outputs if eqn.primitive.multiple_results else [outputs]
        env.update(zip(eqn.outvars, outputs, strict=True))
    return [atom.val if isinstance(atom, Literal) else env[atom] for atom in jaxpr.outvars]


def looped(params: Any, inputs: Any, product: Callable[..., Any]) -> list[Any]:
    """A scan: its constants, what it carries, and what it walks through."""
    first, rest = params["num_consts"], params["num_consts"] + params["num_carry"]

    def step(carried: Any, each: Any) -> Any:
        outputs = evaluate(params["jaxpr"], [*inputs[:first], *carried, *each], product)
        return outputs[: params["num_carry"]], outputs[params["num_carry"] :]

    through = jax.lax.scan(step, inputs[first:rest], inputs[rest:], params["length"], reverse=params["reverse"])
    return [*through[0], *through[1]]


def emulated(compared: Comparison, product: Callable[..., Any], *who: str) -> Comparison:
    """The comparison with these of its jax implementations, or all, on the accelerator."""
    runs = {name: getattr(run, "run", run) for name, run in compared.implementations.items() if is_in_jax(run)}
    there = {name: jax.jit(with_products(run, product)) for name, run in runs.items() if not who or name in who}
    return replace(compared, implementations=compared.implementations | there)


def is_in_jax(run: Any) -> bool:
    return isinstance(run, InJax) or hasattr(run, "lower")


def the_net(n: int, hidden: int, seed: int, product_u: float = 0.0) -> Comparison:
    rng = np.random.default_rng(seed)
    x, targ = batch(load_mnist("sample").train, rng.choice(4000, n, replace=False), F32)
    return net_comparison(draw_params(seed, (784, hidden, 1), rng, F32), x, targ, F32, product_u)


def lin_alone(n: int, hidden: int, product_u: float = 0.0) -> Comparison:
    (params, x, targ), rng = the_net(n, hidden, 0).args, np.random.default_rng(0)
    w, b = params[0]
    inputs = {"lin": {"x": x, "w": w, "b": b}, "relu": {"x": x}, "mse": {"output": targ[:, None], "targ": targ}}
    draw = lambda shape: np.asarray(rng.standard_normal(shape)).astype(F32)  # noqa: E731
    return next(operator_comparisons(inputs, draw, F32, product_u))


def culprits(outcome: Comparison) -> list[str]:
    wrong = {who for row in outcome.rows for who, deviation in row.deviations.items() if deviation.problem}
    return [who for who in outcome.rows[0].deviations if who in wrong]


def used(outcome: Comparison) -> float:
    return max(row.worst[1].budget for row in outcome.rows)


# What is rounded off one product.


@pytest.mark.parametrize(("name", "least"), [*zip(EMULATED, (0.4, 0.9, 0.9, 0.6, 0.3), strict=True)])
def test_u_is_what_a_product_may_be_off_by(name, least):
    product, products = EMULATED[name]
    rng = np.random.default_rng(0)
    # Just above a power of two the relative error of an operand is largest; and everywhere else.
    near = [1 + 2.0**-8, 1 + 3 * 2.0**-9, 1 + 2.0**-10 * 0.999, 1 + 2.0**-8 + 2.0**-16, 1 + 2.0**-8 - 2.0**-23]
    x = np.concatenate([near, rng.uniform(1, 2, 2000), rng.uniform(1, 1.01, 2000)]).astype(np.float32)
    # In float64 the products themselves are exact: what is missing is the operands'.
    with jax.enable_x64(True):
        got = np.asarray(
            product(lambda a, b: a.astype(np.float64)[:, None] * b.astype(np.float64)[None], *[jnp.asarray(x)] * 2)
        )
    want = np.outer(x.astype(np.float64), x.astype(np.float64))
    off = np.max(np.abs(got - want) / want) / ((1 + products.u) ** 2 - 1)
    assert least < off <= 1


# Right nets, on accelerators that round.

SIZES = [(1, 50, 1), (3, 7, 2), (64, 50, 0), (300, 200, 3), (2000, 3, 5), (2000, 50, 4)]


@pytest.mark.parametrize(("n", "hidden", "seed"), SIZES)
@pytest.mark.parametrize("name", EMULATED)
def test_a_right_net_is_within_the_bound_of_its_products(name, n, hidden, seed):
    product, products = EMULATED[name]
    outcome = emulated(the_net(n, hidden, seed, products.u), product)
    assert culprits(outcome) == [] and used(outcome) > 0.002, "nor absurdly wide"
    assert outcome.oracle_budget is not None and outcome.oracle_budget <= 1


@pytest.mark.parametrize(("n", "hidden", "seed"), SIZES[:3])
@pytest.mark.parametrize("name", ["TF32", "TF32, cut off", "bfloat16"])
def test_and_outside_of_float32s_where_its_owner_is_named(name, n, hidden, seed):
    outcome = emulated(the_net(n, hidden, seed), EMULATED[name][0], "custom_vjp")
    assert culprits(outcome) == ["custom_vjp"]


@pytest.mark.parametrize("name", EMULATED)
def test_one_product_alone(name):
    product, products = EMULATED[name]
    for n, hidden in ((1, 1), (500, 1), (64, 50)):
        outcome = emulated(lin_alone(n, hidden, products.u), product)
        assert culprits(outcome) == [] and used(outcome) > 0.05
        if products != BFLOAT16_6:  # which is as good as float32, nearly always
            assert culprits(replace(outcome, product_u=0.0)) == OURS


def test_a_coarser_product_than_was_said_is_noticed():
    assert culprits(emulated(lin_alone(64, 3, TF32.u), EMULATED["bfloat16"][0])) == OURS
    assert culprits(emulated(lin_alone(64, 3, BFLOAT16_3.u), EMULATED["bfloat16"][0])) == OURS
    assert culprits(emulated(lin_alone(64, 3, BFLOAT16_3.u), EMULATED["TF32"][0])) == OURS
    # Why TF32's u is 2^-10: it may be cut off.
    assert culprits(emulated(lin_alone(500, 1, TF32.u / 2), EMULATED["TF32, cut off"][0])) == OURS


# Wrong nets are still wrong.


def net(params: Any, x: Any, targ: Any, bug: str = "") -> Result:
    (w1, b1), (w2, b2) = params
    h = jnp.maximum(x @ w1 + b1[None], 0)
    output = h @ w2 + b2[None]
    diff = output[:, 0] - targ
    output_bar = (1.0 if bug == "no factor 2" else 2.0) / len(x) * diff[:, None]
    h_bar = output_bar @ w2.T
    h_bar = h_bar if bug == "no mask" else jnp.where(h > 0, h_bar, 0)
    b1_bar, b2_bar = h_bar.sum(0), output_bar.sum(0)
    if bug == "no bias":
        b1_bar, b2_bar = jnp.zeros_like(b1), jnp.zeros_like(b2)
    return Result(output, jnp.mean(diff**2), [(x.T @ h_bar, b1_bar), (h.T @ output_bar, b2_bar)], h_bar @ w1.T)


@pytest.mark.parametrize(("n", "hidden", "seed"), SIZES)
@pytest.mark.parametrize("name", ["TF32", "bfloat16"])
def test_planted_errors_are_caught(name, n, hidden, seed):
    product, products = EMULATED[name]
    bugs = ("", "no mask", "no factor 2", "no bias")
    nets = {bug: jax.jit(lambda *args, bug=bug: net(*args, bug=bug)) for bug in bugs}
    caught = culprits(emulated(replace(the_net(n, hidden, seed, products.u), implementations=nets), product))
    if (name, n) == ("bfloat16", 1):
        # One row, whose output is near its digit: its difference is known to less than half. The report says so
        # (notices: 1 and more), and at highest it is caught.
        assert set(caught) >= {"no mask", "no bias"} and "" not in caught
    else:
        assert caught == list(bugs[1:])


# The whole job, on emulated devices.


@pytest.fixture
def on(monkeypatch) -> Callable[..., None]:
    """From here on jax's device passes for one of that platform, and multiplies as it does; or as `products` says."""

    def pretend(platform: str, **products: str) -> None:
        names = {TF32: "TF32, cut off", BFLOAT16: "bfloat16", BFLOAT16_3: "bfloat16, 3 passes", FLOAT32: ""}
        names[BFLOAT16_6] = "bfloat16, 6 passes"

        def on_it(compared: Comparison) -> Any:
            in_force = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
            name = products.get(in_force, names[products_of(platform, in_force)])
            return RAN(emulated(compared, EMULATED[name][0]) if name else compared)

        monkeypatch.setattr(mnist, "platform_of", lambda device: platform)
        monkeypatch.setattr(Comparison, "_ran", property(functools.cache(on_it)))

    return pretend


@pytest.mark.parametrize(
    ("platform", "asked", "products", "others"),
    [
        ("gpu", None, "highest: float32 products", {"default precision": "TF32 products"}),
        ("gpu", "high", "high: TF32 products", {"strict": "float32 products"}),
        ("gpu", "default", "default: TF32 products", {"strict": "float32 products"}),
        ("tpu", "highest", "highest: float32 products", {"default precision": "bfloat16 products"}),
        ("tpu", "default", "default: bfloat16 products", {"strict": "float32 products"}),
        (
            "tpu",
            "high",
            "high: 3-pass bfloat16 products",
            {"strict": "float32 products", "default precision": "bfloat16 products"},
        ),
        ("cpu", "default", "default: float32 products", {}),
    ],
)
def test_both_verdicts(on, platform, asked, products, others):
    on(platform)
    report = check_mnist(16, 20, source="sample", precision=asked)
    assert report.ok, str(report)
    assert report.about["device"] == f"{platform} (cpu), matmul precision {products}"
    assert {f.check: f.text.split(":")[0] for f in report.findings} == others
    assert all((f.about, f.status) == ("net", "pass") and "of its bound" in f.text for f in report.findings)
    assert all(check in str(report) for check in others)


def test_lower_products_than_the_devices_fail_where_they_are_used(on):
    on("gpu", highest="TF32")
    report = check_mnist(16, 20, source="sample")
    assert not report.ok and report.culprits == OURS
    assert "lower precision used?" in str(report)
    assert [f.status for f in report.findings if f.check == "default precision"] == ["pass"]


def test_a_net_that_is_wrong_at_the_other_precision_only_fails_the_report(on):
    on("gpu", highest="TF32")
    report = check_mnist(16, 20, source="sample", precision="default")
    (finding,) = report.findings
    assert not report.ok and report.culprits == [] and (finding.check, finding.status) == ("strict", "FAIL")
    assert finding.text.startswith("float32 products: ") and "is wrong: outside the bound, " in finding.text
    assert finding.text.endswith(f" times it. Wrong: {', '.join(OURS)}")


def test_a_wrong_net_fails_at_both(on, monkeypatch):
    module = sys.modules["pullback.functional.mlp"]
    right = module.relu_bwd
    monkeypatch.setattr(module, "relu_bwd", lambda y, y_bar: (2 * right(y, y_bar)[0],))
    jax.clear_caches()
    on("gpu")
    report = check_mnist(16, 20, source="sample", precision="default")
    jax.clear_caches()
    assert report.culprits == ["by hand"]
    by_check = {finding.check: finding for finding in report.findings}
    assert by_check["strict"].status == "FAIL" and by_check["strict"].text.endswith("Wrong: by hand")
    assert "the first step to go wrong is w1" in by_check["chain"].text


def test_an_implementation_that_raises_at_the_other_precision(on, monkeypatch):
    def broken(*_):
        if jax.config.jax_default_matmul_precision == "default":  # pyright: ignore[reportAttributeAccessIssue]
            raise RuntimeError("no such kernel")
        return in_jax.net_twin(*_)

    monkeypatch.setattr(in_jax, "net_by_hand", broken)
    on("gpu")
    (finding,) = check_mnist(4, 3, source="sample").findings
    assert finding.status == "FAIL" and "raised RuntimeError: no such kernel. Wrong: by hand" in finding.text


def test_full_holds_the_rules_to_the_products_too(on, monkeypatch):
    monkeypatch.setattr(mnist, "PROBES", {name: PROBES[name] for name in ("values", "dtypes")})
    monkeypatch.setattr(mnist, "DTYPES", ("float32", "bfloat16"))
    on("gpu")
    report = check_mnist(16, 3, source="sample", precision="default", full=True)
    assert report.ok, str(report)
    assert {row.check for row in report.rows} >= {"lin float32", "mlp_loss float32", "mlp_loss bfloat16"}
    on("tpu", default="TF32")  # more than a bfloat16 product, and less than is said:
    monkeypatch.setattr(mnist, "products_of", lambda platform, precision: FLOAT32)
    report = check_mnist(16, 3, source="sample", precision="default", full=True)
    assert {"lin float32", "mlp_loss float32"} <= {row.check for row in report.rows if not row.ok}


def test_other_dtypes_have_one_verdict(on):
    on("gpu")
    report = check_mnist(4, 3, source="sample", dtype="float64", precision="default")
    assert report.ok and report.findings == []
    assert report.about["device"] == "gpu (cpu), matmul precision default"


# Where jax computes.


def test_platforms():
    names = {"cuda": "gpu", "rocm": "gpu", "gpu": "gpu", "tpu": "tpu", "cpu": "cpu", "METAL": "METAL"}
    for name, platform in names.items():
        assert precision.platform_of(type("Device", (), {"platform": name})) == platform
    assert products_of("METAL", "default") == FLOAT32


def test_devices():
    first = jax.local_devices()[0]
    assert precision.local_device() == precision.local_device("cpu") == precision.cpu() == first
    last = jax.local_devices()[-1]
    with jax.default_device(last):
        assert precision.local_device() == last


ON_THE_SECOND = """
import jax
from pullback.parity.lesson import mnist
from pullback.parity.probes.probe import PROBES
from pullback.parity.roundoff import products as precision
from pullback.parity.verdict.comparison import Comparison

first, second = jax.local_devices()
asked, seen, right = [], [], Comparison.__dict__["_ran"].func
mnist.local_device = lambda device: asked.append(device) or second
Comparison._ran = property(lambda compared: seen.append(precision.local_device()) or right(compared))
assert mnist.check_mnist(2, 2, source="sample", device="cpu").ok
assert asked == ["cpu"] and set(seen) == {second} and precision.local_device() == first
"""


def test_the_device_asked_for_is_where_jax_computes():
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
    result = subprocess.run([sys.executable, "-c", ON_THE_SECOND], env=env, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("device", ["gpu", "tpu", "cuda", "", 3])
def test_a_device_that_is_not_there(as_a_user, device, capfd):
    with pytest.raises(ValueError) as caught:
        check_mnist(2, 2, source="sample", device=device)
    assert str(caught.value) == f"device must be one that jax finds here: cpu; got {device!r}"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("asked", ["fastest", "", 3, ["high"]])
def test_a_precision_that_is_none(as_a_user, asked):
    with pytest.raises(ValueError) as caught:
        check_mnist(2, 2, source="sample", precision=asked)
    assert str(caught.value) == f"precision must be one of default, high, highest; got {asked!r}"


def test_without_the_cpu_the_error_says_what_to_set(as_a_user, monkeypatch):
    def only_cuda(*, backend=None):
        raise RuntimeError(f"Unknown backend {backend}. Available backends are ['cuda']")

    monkeypatch.setattr(jax, "local_devices", only_cuda)
    monkeypatch.setattr(type(jax.config), "jax_platforms", "cuda", raising=False)
    with pytest.raises(ValueError, match="JAX_PLATFORMS=cuda leaves out: add it .cuda,cpu.$"):
        check_mnist(2, 2, source="sample")
