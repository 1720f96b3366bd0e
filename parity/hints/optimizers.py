"""What a wrong training step looks like: the original's optimizer runs again by hand, in known variants."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

CLOSE = 1e-10
EPS = (1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10, 1e-12, 1e-15, 0.0)
DECAYS = {True: "coupled (added to the gradient, as in Adam)", False: "decoupled (as in AdamW)"}


def step_like(settings: Mapping[str, Any], grads: Sequence[Any], params: Sequence[Any], port: Any) -> str:
    """The variant of torch's optimizer whose last change of a parameter is the port's; "" if none is.

    settings: of the parameter's group, and its `kind`. grads, params: of this parameter, step by step, before each.
    """
    rule = {"SGD": _sgd, "Adam": _adam, "AdamW": _adam}.get(settings.get("kind", ""))
    if rule is None or settings.get("amsgrad") or settings.get("maximize"):
        return ""
    base = {"coupled": settings["kind"] != "AdamW"} | dict(settings)
    size = float(np.max(np.abs(port), initial=0)) or 1.0
    with np.errstate(all="ignore"):
        for said, changes in _variants(base):
            change = rule(base | changes, grads, params)
            if np.max(np.abs(change - port), initial=0) <= CLOSE * size:
                return said
    return ""


def _variants(base: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if base["weight_decay"]:
        coupled = base["coupled"]
        said = f"a weight decay that is {DECAYS[not coupled]}, where the original's is {DECAYS[coupled]}"
        yield said, {"coupled": not coupled}
        yield "no weight decay", {"weight_decay": 0.0}
    if base["kind"] == "SGD":
        if base["momentum"]:
            yield "no momentum", {"momentum": 0.0}
            yield f"nesterov={not base['nesterov']}", {"nesterov": not base["nesterov"]}
            damped = {"dampening": base["momentum"], "damped_first": True}
            yield "a momentum whose new gradient is multiplied by 1 - momentum", damped
        return
    eps = base["eps"]
    yield "eps inside of the root", {"eps": 0.0, "eps_root": eps}
    for inside in (each for each in EPS if each):
        yield f"eps={inside:g} inside of the root, beside the one outside", {"eps_root": inside}
    yield "eps added before the correction of the bias", {"early": True}
    yield "no correction of the bias", {"corrected": False}
    for other in EPS:
        yield f"eps={other:g}, where the original has {eps:g}", {"eps": other}
    for k, known in enumerate(((0.0, 0.5, 0.8, 0.9, 0.95), (0.9, 0.95, 0.98, 0.99, 0.995, 0.999))):
        for beta in known:
            betas = tuple(beta if i == k else each for i, each in enumerate(base["betas"]))
            yield f"b{k + 1}={beta:g}, where the original has {base['betas'][k]:g}", {"betas": betas}


def _adam(s: Mapping[str, Any], grads: Sequence[Any], params: Sequence[Any]) -> Any:
    """Kingma & Ba (2015), algorithm 1; the decay of Loshchilov & Hutter (2019) where it is decoupled."""
    (b1, b2), m, v, change = s["betas"], 0.0, 0.0, 0.0
    for t, (grad, param) in enumerate(zip(grads, params, strict=True), 1):
        g = grad + s["weight_decay"] * param * s["coupled"]
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        first, second = (1 - b1**t, 1 - b2**t) if s.get("corrected", True) else (1.0, 1.0)
        root = np.sqrt(v / second + s.get("eps_root", 0.0))
        below = (np.sqrt(v) + s["eps"]) / second**0.5 if s.get("early") else root + s["eps"]
        change = -s["lr"] * (m / first / below + s["weight_decay"] * param * (not s["coupled"]))
    return change


def _sgd(s: Mapping[str, Any], grads: Sequence[Any], params: Sequence[Any]) -> Any:
    moved, change = None, 0.0
    for grad, param in zip(grads, params, strict=True):
        g = grad + s["weight_decay"] * param * s["coupled"]
        if s["momentum"]:
            new = (1 - s["dampening"] * (moved is not None or s.get("damped_first", False))) * g
            moved = new if moved is None else s["momentum"] * moved + new
            g = g + s["momentum"] * moved if s["nesterov"] else moved
        change = -s["lr"] * (g + s["weight_decay"] * param * (not s["coupled"]))
    return change
