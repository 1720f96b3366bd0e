"""The main job: every implementation on the same MNIST batch, end to end and each op alone."""

import contextlib
import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pullback.data import Split, load_mnist, normalize
from pullback.functional import (
    avg_pool2d,
    init_mlp,
    leaky_relu,
    lin,
    linear_cross_entropy,
    log_softmax,
    max_pool2d,
    mlp_loss,
    mse,
    relu,
    shifted_relu,
    softmax_cross_entropy,
)

from .._check import DTYPES, examine
from ..case.case import take_up
from ..case.progress import step
from ..probes.probe import PROBES
from ..report.report import Report
from ..roundoff.products import PRECISIONS, Products, local_device, platform_of, products_of
from ..verdict.comparison import Comparison, Outcome
from ..verdict.finding import Finding
from . import in_jax
from .chain import chain_finding
from .operators import operator_comparisons
from .result import result_leaves
from .sharded import check_same_inputs, net_sharded, process_findings

COLUMNS = {"rule": "custom_vjp", "reference": "jax.grad"}  # what `check` calls them, and the net's rows


def check_mnist(
    batch_size: int = 64,
    hidden: int = 50,
    *,
    dtype: Any = "float32",
    seed: int = 0,
    source: str | Path = "auto",
    full: bool = False,
    device: str | None = None,
    precision: str | None = None,
) -> Report:
    """Output, loss and every gradient of the lesson's net, in six implementations, on one MNIST batch.

    The net is 784 -> hidden -> 1 with mse against the digit. Ours by hand, ours through jax.grad, jax.grad of a
    rule-free twin, torch autograd, torch by hand and torch nn.Module are each compared with torch autograd in
    float64, leaf by leaf (and where jax finds several devices, in one process or many, the net sharded over all of
    them); then lin, relu (also at exactly 0) and mse alone, each with a random cotangent.

    batch_size: rows, drawn from MNIST's train split with `seed` and normalized with train's moments. dtype: float32,
    float64, bfloat16 or float16. source: as for `pullback.data.load_mnist`. full: also everything that `check` looks
    at, for lin, relu (plain, shifted, leaky), mse and the whole loss, and for the rules of a classifier on the same
    batch (poolings of the images, log_softmax, softmax_cross_entropy and linear_cross_entropy of ten classes):
    transformations, dtypes, kinks, numerical differentiation, ...
    device: cpu, gpu or tpu, where the jax implementations run (None: where jax computes by default). precision: jax's
    matmul precision for them, default, high or highest (None). The bound follows what float32 products are there; where
    they are another arithmetic at highest or at default, the net is checked at that too, and a finding says so.

    Raises ValueError for an argument out of range, ImportError without torch, DataError if `source` cannot be read.
    """
    asked = dtype
    try:
        dtype = jnp.dtype(dtype)
    except TypeError:
        dtype = None
    if dtype is None or dtype.name not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}; got {asked!r}")
    for name, value, least in (("batch_size", batch_size, 1), ("hidden", hidden, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}")
    precision = "highest" if precision is None else precision
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    where = local_device(device)
    on = platform_of(where)
    products = products_of(on, precision)
    from . import in_torch

    mnist = load_mnist(source)
    n = len(mnist.train.images)
    if batch_size > n:
        raise ValueError(f"batch_size must be at most {n:,}, the train rows of the {mnist.source}; got {batch_size:,}")

    # Without x64, jax would silently turn float64 into float32.
    x64 = jax.enable_x64(True) if dtype.name == "float64" else contextlib.nullcontext()
    with x64, jax.default_device(where), jax.default_matmul_precision(precision):
        rng = np.random.default_rng(seed)
        x, targ = batch(mnist.train, rng.choice(n, batch_size, replace=False), dtype)
        params = draw_params(seed, (784, hidden, 1), rng, dtype)
        net = net_comparison(params, x, targ, dtype, products.u)
        everywhere = jax.devices(where.platform)
        if len(everywhere) > 1:
            check_same_inputs(params, x, targ)
            net = replace(net, implementations=net.implementations | {"sharded": net_sharded(everywhere)})

        def draw(shape: tuple[int, ...]) -> np.ndarray:
            return np.asarray(rng.standard_normal(shape)).astype(dtype)

        step(f"the net, of {batch_size:,} rows")
        outcomes, sharded = [net.outcome], net.got.get("sharded", {})
        net = replace(net)  # without the arrays, which are gigabytes at 50,000 rows
        step("each operation alone")
        alone = operator_comparisons(_inside(params, x, targ), draw, dtype, products.u)
        outcomes += [comparison.outcome for comparison in alone]
        # Where the net is right, so is every step of it.
        right = all(row.ok for row in outcomes[0].rows)
        findings = [] if right else [chain_finding(params, x, targ, dtype, products.u)]
        if dtype == np.float32:
            for name, other in (("strict", "highest"), ("default precision", "default")):
                if products_of(on, other) != products:
                    findings.append(_at_precision(name, net, other, products_of(on, other)))
        if jax.process_count() > 1:
            fine = all(row.ok for outcome in outcomes for row in outcome.rows)
            findings += process_findings(sharded, fine)
        if full:
            more, found = _examined(params, x, targ, seed, products.u)
            outcomes, findings = outcomes + more, findings + found
    many = f"{len(everywhere)} × " if len(everywhere) > 1 else ""
    arithmetic = f": {products.name}" if dtype == np.float32 else ""
    versions = f"jax {jax.__version__}, torch {in_torch.torch.__version__}, pullback {version('pullback')}"
    about = {
        "net": f"784 -> {hidden} -> 1, relu, mse",
        "batch": f"{batch_size:,} rows of train, drawn with seed {seed}, normalized with train's moments",
        "data": mnist.source,
        "dtype": dtype.name,
        "oracle": "torch autograd in float64",
        "device": f"{many}{on} ({where.device_kind}), matmul precision {precision}{arithmetic}",
        "versions": f"{versions}, Python {platform.python_version()}",
    }
    return Report.of(about, outcomes, findings)


def net_comparison(params: Any, x: np.ndarray, targ: np.ndarray, dtype: Any, product_u: float = 0.0) -> Comparison:
    """The whole net, in six implementations."""
    from . import in_torch

    ours = {"by hand": in_jax.net_by_hand, "custom_vjp": in_jax.net_custom_vjp, "jax.grad": in_jax.net_twin}
    ours = {who: jax.jit(run) for who, run in ours.items()}
    autograd, by_hand, module = in_torch.net_autograd, in_torch.net_by_hand, in_torch.net_module
    torch = {"torch": autograd, "torch by hand": by_hand, "nn.Module": module}
    args, oracle = (params, x, targ), in_torch.in_double(autograd)
    return Comparison("net", args, ours | torch, in_jax.net_twin, oracle, dtype, result_leaves, product_u=product_u)


def _inside(params: Any, x: np.ndarray, targ: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """What each op gets inside the net: its arguments by name."""
    w1, b1 = params[0]
    z1, output = (np.asarray(a) for a in (in_jax.twin_lin(x, w1, b1), in_jax.twin_mlp(params, x)))
    return {"lin": {"x": x, "w": w1, "b": b1}, "relu": {"x": z1}, "mse": {"output": output, "targ": targ}}


def _at_precision(name: str, net: Comparison, precision: str, products: Products) -> Finding:
    """The verdict on a float32 check at another matmul precision, by the bound of its products."""
    with jax.default_matmul_precision(precision):
        rows = replace(net, dtype=np.dtype(np.float32), second_opinion=False, product_u=products.u).rows
    worst = min(rows, key=lambda row: (row.ok, -row.worst[1].budget))
    who, deviation = worst.worst
    text = f"{products.name}: {worst.leaf} ({who}) "
    if worst.ok:
        return Finding(name, net.name, "pass", text + f"comes off worst, at {deviation.budget:.0%} of its bound")
    wrong = dict.fromkeys(who for row in rows for who, deviation in row.deviations.items() if deviation.problem)
    times = f", {deviation.budget:.3g} times it" if np.isfinite(deviation.budget) else ""
    return Finding(name, net.name, "FAIL", f"{text}is wrong: {deviation.problem}{times}. Wrong: {', '.join(wrong)}")


def _examined(params: Any, x: Any, targ: Any, seed: int, product_u: float) -> tuple[list[Outcome], list[Finding]]:
    """Everything that `check` looks at, for each rule and for the whole loss, on what it gets inside the net."""
    from . import in_torch

    lin_args, (z1,), mse_args = (tuple(arguments.values()) for arguments in _inside(params, x, targ).values())
    images, labels = x.reshape(-1, 28, 28, 1), targ.astype(np.int32)
    (last,) = draw_params(seed, (784, 10), np.random.default_rng(seed), x.dtype)
    logits = np.asarray(in_jax.twin_lin(x, *last))
    subjects = [
        (lin, lin_args, in_jax.twin_lin, in_torch.lin),
        (relu, (z1,), in_jax.twin_relu, in_torch.relu),
        (shifted_relu, (z1, z1.dtype.type(0.5)), in_jax.twin_shifted_relu, in_torch.shifted_relu),
        (leaky_relu, (z1, z1.dtype.type(0.1)), in_jax.twin_leaky_relu, in_torch.leaky_relu),
        (mse, mse_args, in_jax.twin_mse, in_torch.mse),
        (mlp_loss, (params, x, targ), in_jax.twin_loss, in_torch.mlp_loss),
        (max_pool2d, (images,), in_jax.twin_max_pool2d, in_torch.max_pool2d),
        (avg_pool2d, (images,), in_jax.twin_avg_pool2d, in_torch.avg_pool2d),
        (log_softmax, (logits,), in_jax.twin_log_softmax, in_torch.log_softmax),
        (softmax_cross_entropy, (logits, labels), in_jax.twin_softmax_cross_entropy, in_torch.softmax_cross_entropy),
        (
            linear_cross_entropy,
            (x, *last, labels),
            in_jax.twin_linear_cross_entropy,
            in_torch.linear_cross_entropy,
        ),
    ]
    outcomes, findings = [], []
    for rule, args, reference, torch in subjects:
        case = take_up(rule, args, reference=reference, torch=torch, seed=seed, product_u=product_u)
        case = replace(case, prefix=f"{case.name} ", columns=COLUMNS)
        more, found, _ = examine(case, list(PROBES.values()), DTYPES)
        outcomes += more
        findings += [replace(finding, about=f"{case.name}: {finding.about}") for finding in found]
    return outcomes, findings


def batch(train: Split, rows: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """`(x, targ)`: normalized pixels, and the digit as a number to regress on, as in the lesson."""
    pixels = train.images.astype(np.float32) / 256
    wide = pixels[rows].astype(np.promote_types(dtype, np.float32) if dtype.itemsize > 2 else np.float32)
    return normalize(wide, pixels.mean(), pixels.std()).astype(dtype), train.labels[rows].astype(dtype)


def draw_params(seed: int, sizes: tuple[int, ...], rng: np.random.Generator, dtype: np.dtype) -> list[Any]:
    """The lesson's initial weights, and biases that are not zero: a zero hides a bias that is dropped."""
    params = init_mlp(jax.random.key(seed), sizes, dtype=dtype)
    return [(np.asarray(w), (0.1 * rng.standard_normal(w.shape[1])).astype(dtype)) for w, _zero in params]
