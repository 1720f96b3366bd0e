"""The check is checked: wrong rules are planted, and the parity check itself must catch each of them.

A mutant changes one rule of ours, wherever it is used: in `forward_and_backward`, in the custom_vjp that jax.grad
calls, and where the op is checked alone. What is right (jax.grad of the twin, torch) must not be blamed.
"""

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import lin_bwd, lin_fwd, mse_bwd, mse_fwd, relu_bwd, relu_fwd
from pullback.parity import Report, check_mnist

RIGHT = {"lin": (lin_fwd, lin_bwd), "relu": (relu_fwd, relu_bwd), "mse": (mse_fwd, mse_bwd)}
USERS = ["pullback.functional.mlp", "pullback.parity.lesson.operators"]


@pytest.fixture
def plant(monkeypatch):
    """Replaces an op's forward or backward rule everywhere, until the test is over."""
    planted = []

    def replace(op: str, fwd: Callable[..., Any] | None = None, bwd: Callable[..., Any] | None = None) -> None:
        fwd, bwd = fwd or RIGHT[op][0], bwd or RIGHT[op][1]
        getattr(sys.modules[f"pullback.functional.{op}"], op).defvjp(fwd, bwd)
        planted.append(op)
        for module in USERS:
            monkeypatch.setattr(sys.modules[module], f"{op}_fwd", fwd)
            monkeypatch.setattr(sys.modules[module], f"{op}_bwd", bwd)
        jax.clear_caches()  # what is compiled already holds the right rule

    yield replace
    for op in planted:
        getattr(sys.modules[f"pullback.functional.{op}"], op).defvjp(*RIGHT[op])
    jax.clear_caches()


def check() -> Report:
    return check_mnist(32, 20, source="sample")


def on_lin(change: Callable[..., Any]) -> dict[str, Any]:
    """A backward rule of lin: `change(x, w, y_bar, x_bar, w_bar, b_bar)` of the right one."""
    return {"bwd": lambda residuals, y_bar: change(*residuals[:2], y_bar, *lin_bwd(residuals, y_bar))}


def on_relu(change: Callable[..., Any]) -> dict[str, Any]:
    return {"bwd": lambda y, y_bar: (change(y, y_bar),)}


def on_mse(change: Callable[..., Any]) -> dict[str, Any]:
    """A backward rule of mse: `change(loss_bar, output_bar, targ_bar)` of the right one."""
    return {"bwd": lambda residuals, loss_bar: change(loss_bar, *mse_bwd(residuals, loss_bar))}


def first_row_dropped(a):
    return a.at[0].set(0)


def in_bfloat16(a, b):
    """a^T b, rounded to half precision on the way."""
    return jnp.dot(a.T.astype(jnp.bfloat16), b.astype(jnp.bfloat16)).astype(a.dtype)


def stale_lin_fwd(x, w, b=None):
    y, (x, w, b) = lin_fwd(x, w, b)
    return y, (jnp.roll(x, 1, axis=0), w, b)


def broadcast_mse_fwd(output, targ):
    # [n, 1] - [n] is [n, n]: the bug that mse's shape rule is there for.
    diff = jnp.broadcast_to(output, (targ.size, targ.size)) - jnp.broadcast_to(targ, (targ.size, targ.size))
    return jnp.mean(diff**2), (output, targ)


MUTANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "lin: x_bar twice": ("lin", on_lin(lambda x, w, g, xb, wb, bb: (2 * xb, wb, bb))),
    "lin: x_bar zero": ("lin", on_lin(lambda x, w, g, xb, wb, bb: (0 * xb, wb, bb))),
    "lin: x_bar shifted by a column": ("lin", on_lin(lambda x, w, g, xb, wb, bb: (jnp.roll(xb, 1, axis=-1), wb, bb))),
    "lin: w_bar sign": ("lin", on_lin(lambda x, w, g, xb, wb, bb: (xb, -wb, bb))),
    "lin: w_bar times 1.001": ("lin", on_lin(lambda x, w, g, xb, wb, bb: (xb, 1.001 * wb, bb))),
    "lin: w_bar times 1.0001": ("lin", on_lin(lambda x, w, g, xb, wb, bb: (xb, 1.0001 * wb, bb))),
    "lin: w_bar transposed": ("lin", on_lin(lambda x, w, g, xb, wb, bb: (xb, wb.T, bb))),
    "lin: w_bar without the first row": (
        "lin",
        on_lin(lambda x, w, g, xb, wb, bb: (xb, first_row_dropped(x).T @ g, bb)),
    ),
    "lin: w_bar a mean": ("lin", on_lin(lambda x, w, g, xb, wb, bb: (xb, wb / len(x), bb))),
    "lin: w_bar accumulated in bfloat16": ("lin", on_lin(lambda x, w, g, xb, wb, bb: (xb, in_bfloat16(x, g), bb))),
    "lin: w_bar of another dtype": ("lin", on_lin(lambda x, w, g, xb, wb, bb: (xb, wb.astype(jnp.bfloat16), bb))),
    "lin: w_bar ignores the cotangent": (
        "lin",
        on_lin(lambda x, w, g, xb, wb, bb: (xb, x.T @ jnp.ones_like(g), bb)),
    ),
    "lin: one cell of w_bar off by 1%": (
        "lin",
        on_lin(lambda x, w, g, xb, wb, bb: (xb, wb.at[0, 0].multiply(1.01), bb)),
    ),
    "lin: b_bar a mean": ("lin", on_lin(lambda x, w, g, xb, wb, bb: (xb, wb, bb / len(x)))),
    "lin: b_bar dropped": ("lin", on_lin(lambda x, w, g, xb, wb, bb: (xb, wb, jnp.zeros_like(bb)))),
    "lin: b_bar None": ("lin", on_lin(lambda x, w, g, xb, wb, bb: (xb, wb, None))),
    "lin: forward without the bias": ("lin", {"fwd": lambda x, w, b=None: (lin_fwd(x, w)[0], (x, w, b))}),
    "lin: forward off by 1e-4": ("lin", {"fwd": lambda x, w, b=None: (1.0001 * lin_fwd(x, w, b)[0], (x, w, b))}),
    "lin: stale residual": ("lin", {"fwd": stale_lin_fwd}),
    "relu: derivative 1 at 0": (
        "relu",
        {"fwd": lambda x: (relu_fwd(x)[0], x), "bwd": lambda x, g: (jnp.where(x >= 0, g, 0.0),)},
    ),
    "relu: no mask": ("relu", on_relu(lambda y, g: g)),
    "relu: mask the wrong way round": ("relu", on_relu(lambda y, g: jnp.where(y > 0, 0.0, g))),
    "relu: leaks 1%": ("relu", on_relu(lambda y, g: jnp.where(y > 0, g, 0.01 * g))),
    "relu: ignores the cotangent": ("relu", on_relu(lambda y, g: jnp.where(y > 0, 1.0, 0.0))),
    "relu: mask of the cotangent": ("relu", on_relu(lambda y, g: jnp.where(g > 0, g, 0.0))),
    "relu: scaled by its output": ("relu", on_relu(lambda y, g: y * g)),
    "mse: without the 2": ("mse", on_mse(lambda g, ob, tb: (ob / 2, tb / 2))),
    "mse: without the 1/n": ("mse", on_mse(lambda g, ob, tb: (ob * ob.size, tb * tb.size))),
    "mse: 1/(n-1)": ("mse", on_mse(lambda g, ob, tb: (ob * ob.size / (ob.size - 1), tb * tb.size / (tb.size - 1)))),
    "mse: sign": ("mse", on_mse(lambda g, ob, tb: (-ob, -tb))),
    "mse: ignores the cotangent, as the lesson's does": ("mse", on_mse(lambda g, ob, tb: (ob / g, tb / g))),
    "mse: targ_bar zero": ("mse", on_mse(lambda g, ob, tb: (ob, 0 * tb))),
    "mse: targ_bar like output_bar": ("mse", on_mse(lambda g, ob, tb: (ob, -tb))),
    "mse: first row dropped": ("mse", on_mse(lambda g, ob, tb: (first_row_dropped(ob), tb))),
    "mse: forward broadcasts to n x n": ("mse", {"fwd": broadcast_mse_fwd}),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_is_caught(plant, mutant):
    op, rule = MUTANTS[mutant]
    plant(op, **rule)
    report = check()
    assert not report.ok, f"survived: {mutant}\n{report}"
    blamed = {who for row in report.rows for who, d in row.deviations.items() if d.problem}
    assert blamed == {"by hand", "custom_vjp"}, str(report)


def test_the_right_rules_pass_beside_them(plant):
    for op in RIGHT:
        plant(op)  # through the same machinery, but nothing changed
    report = check()
    assert report.ok, str(report)


def test_there_are_enough_of_them_of_every_op():
    ops = [op for op, _ in MUTANTS.values()]
    assert len(ops) >= 30 and all(ops.count(op) >= 7 for op in RIGHT)


def test_their_number_is_told(root):
    assert f"{len(MUTANTS)} planted wrong rules" in (root / "CONTRIBUTING.md").read_text()


def test_relu_at_zero_is_caught_by_its_own_check_only(plant):
    # The lesson's two relus differ just there: clamp_min forward (1 at 0), `inp > 0` backward (0 at 0).
    op, rule = MUTANTS["relu: derivative 1 at 0"]
    plant(op, **rule)
    assert {row.check for row in check().rows if not row.ok} == {"relu at 0"}


def test_an_ignored_cotangent_is_caught_by_the_op_alone_only(plant):
    op, rule = MUTANTS["mse: ignores the cotangent, as the lesson's does"]
    plant(op, **rule)
    assert {row.check for row in check().rows if not row.ok} == {"mse"}


def test_the_values_of_a_failure_are_everybodys(plant):
    op, rule = MUTANTS["lin: w_bar sign"]
    plant(op, **rule)
    row = next(row for row in check().rows if (row.check, row.leaf) == ("net", "w1"))
    assert np.sign(row.values["by hand"]) == -np.sign(row.values["oracle"]) != 0
    assert row.values["torch"] == pytest.approx(row.values["oracle"], rel=1e-4)
