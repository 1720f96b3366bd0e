"""Disputed values, each computed once more with 50 digits (mpmath): who is right?"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import mpmath as mp
import numpy as np
import torch

mp.mp.dps = 50
F32 = np.float32


def jax_second(f: Callable[..., Any], *at: float) -> float:
    return float(jax.grad(jax.grad(f))(*map(F32, at)))


def torch_first(f: Callable[..., Any], *at: float) -> float:
    x = [torch.tensor(a, dtype=torch.float32, requires_grad=True) for a in at]
    return float(torch.autograd.grad(f(*x), x[0])[0])


def torch_second(f: Callable[..., Any], *at: float) -> float:
    x = [torch.tensor(a, dtype=torch.float32, requires_grad=True) for a in at]
    (first,) = torch.autograd.grad(f(*x), x[0], create_graph=True)
    return float(torch.autograd.grad(first, x[0])[0])


def show(what: str, exact: Any, **said: float) -> None:
    """Each figure, and its relative error where the exact value has one."""
    cells = []
    for who, value in said.items():
        off = f" ({float(abs(mp.mpf(value) / exact - 1)):.0e} off)" if mp.isfinite(exact) else ""
        cells.append(f"{who} {value:.9g}{off}")
    print(f"{what:<44} exact {mp.nstr(exact, 10)}; {', '.join(cells)}")


def exactly(x: float) -> Any:
    """The float32 number that both frameworks are given."""
    return mp.mpf(float(F32(x)))


def sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


if __name__ == "__main__":
    nn = torch.nn.functional
    x = -5.0
    show(
        f"value of gelu at {x:g}",
        exactly(x) * mp.erfc(-exactly(x) / mp.sqrt(2)) / 2,
        jax=float(jax.nn.gelu(F32(x), approximate=False)),
        torch=float(nn.gelu(torch.tensor(x))),
    )
    x, t = -3.0594797, 0.055628117  # where torch's formula is worst
    show(
        f"value of sigmoid cross-entropy at {x:g}, {t:g}",
        mp.log1p(mp.exp(exactly(x))) - exactly(t) * exactly(x),
        jax=float(-F32(t) * jax.nn.log_sigmoid(F32(x)) - (1 - F32(t)) * jax.nn.log_sigmoid(F32(-x))),
        torch=float(nn.binary_cross_entropy_with_logits(torch.tensor(x), torch.tensor(t))),
    )
    x = 7.0
    show(
        f"second derivative of softplus at {x:g}",
        sigmoid(exactly(x)) * sigmoid(-exactly(x)),
        jax=jax_second(jax.nn.softplus, x),
        torch=torch_second(nn.softplus, x),
    )
    show(
        f"second derivative of log_sigmoid at {-x:g}",
        -sigmoid(exactly(x)) * sigmoid(-exactly(x)),
        jax=jax_second(jax.nn.log_sigmoid, -x),
        torch=torch_second(nn.logsigmoid, -x),
    )
    x, y = 7.0, 0.5
    show(
        f"second derivative of logaddexp at {x:g}, {y:g}",
        sigmoid(exactly(x) - exactly(y)) * sigmoid(exactly(y) - exactly(x)),
        jax=jax_second(jnp.logaddexp, x, y),
        torch=torch_second(torch.logaddexp, x, y),
    )
    show(
        f"second derivative of logaddexp2 at {x:g}, {y:g}",
        mp.log(2) * sigmoid((exactly(x) - exactly(y)) * mp.log(2)) * sigmoid((exactly(y) - exactly(x)) * mp.log(2)),
        jax=jax_second(jnp.logaddexp2, x, y),
        torch=torch_second(torch.logaddexp2, x, y),
    )
    x = 6.0
    show(
        f"second derivative of log cosh at {x:g}",
        mp.sech(exactly(x)) ** 2,
        jax=jax_second(lambda e: jnp.logaddexp(e, -e), x),
        torch=torch_second(lambda e: torch.logaddexp(e, -e), x),
    )
    x = 1e-40
    show(
        f"gradient of relu at {x:g}",
        mp.mpf(1),
        jax=float(jax.grad(jax.nn.relu)(F32(x))),
        jax_jit=float(jax.jit(jax.grad(jax.nn.relu))(F32(x))),
        torch=torch_first(nn.relu, x),
    )
    show(
        f"gradient of kl_div(p, 1) at p = {x:g}",
        mp.log(exactly(x)),
        jax=float(jax.grad(jsp.kl_div)(F32(x), F32(1))),
        torch=torch_first(lambda p: -torch.special.entr(p), x) - 1,
    )
    show(
        "gradient of kl_div(p, 1) at p = 0",
        mp.mpf("-inf"),
        jax=float(jax.grad(jsp.kl_div)(F32(0), F32(1))),
        torch=torch_first(lambda p: -torch.special.entr(p), 0.0) - 1,
    )
    show(
        "value of kl_div(p, 1) at p = nan",
        mp.mpf("nan"),
        jax=float(jsp.kl_div(F32("nan"), F32(1))),
    )
    show(
        "gradient of kl_div(p, 1) at p = nan",
        mp.mpf("nan"),
        jax=float(jax.grad(jsp.kl_div)(F32("nan"), F32(1))),
        torch=torch_first(lambda p: -torch.special.entr(p), float("nan")) - 1,
    )
    q = 1e-40
    show(
        f"gradient of kl_div(1, q) at q = {q:g}",
        1 - 1 / exactly(q),
        jax_jit=float(jax.jit(jax.grad(jsp.kl_div, 1))(F32(1), F32(q))),
        torch=torch_first(lambda q: -torch.special.xlogy(torch.tensor(1.0), q), q) + 1,
    )
    show(
        f"gradient of entr(x) at x = {x:g}",
        -mp.log(exactly(x)) - 1,
        jax_jit=float(jax.jit(jax.grad(jsp.entr))(F32(x))),
        torch=torch_first(torch.special.entr, x),
    )
