"""For a primitive without a rule: run it itself, in float64 where it can, and estimate its error by moving its inputs.

This is weaker than a rule: an estimate, not a bound. The inputs move by random signs times their error, and by an ulp,
as if the primitive were as good as the exact result for inputs that were rounded (backward stable: Higham 2002,
section 1.5). Beside that stands a rounding relative to the largest output, for what the elementwise estimate misses.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from .bounded import Bounded, Reals, Rounding, error_of, exact, is_real

TRIALS = 8
SAFETY = 8.0
"""The signs drawn are not the worst: over n independent inputs the worst is about sqrt(n) times a typical draw. Eight
draws' largest, eight times over, covers 60 and more inputs that all matter alike; cancelling more is not typical."""
OWN = {"bitcast_convert_type": "bits", "pure_callback": "opaque", "io_callback": "opaque", "ffi_call": "opaque"}
OWN |= {"pallas_call": "opaque", "custom_call": "opaque", "random_gamma": "opaque"}
"""What runs as the jaxpr says, in its own dtype: what takes bits apart, draws (in float64 they would be others), and
code that is not jax's."""
FEW = 8
"""Roundings relative to the largest output that one element alone may make: lgamma's near 1 are 7 (jax, float32)."""


def in_double(eqn: Any, *values: Reals, **params: Any) -> list[Reals]:
    """The primitive's outputs with float64 in the place of every real dtype. Keyword arguments replace parameters."""
    with jax.enable_x64(True):
        if scatter := SCATTER.get(eqn.primitive.name):  # its own parameter is a jaxpr of its own dtype
            return [np.asarray(scatter(*values, **scatter_options(eqn)))]
        promoted = {name: _promoted(value) for name, value in eqn.params.items()}
        return _run(eqn, values, promoted | params)


def scatter_options(eqn: Any) -> dict[str, Any]:
    """The keyword arguments with which lax's scatters do what the equation says."""
    names = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
    return {name: eqn.params[name] for name in names}


SCATTER = {
    "scatter-add": jax.lax.scatter_add,
    "scatter-sub": jax.lax.scatter_sub,
    "scatter-max": jax.lax.scatter_max,
    "scatter-min": jax.lax.scatter_min,
    "scatter-mul": jax.lax.scatter_mul,
    "scatter_mul": jax.lax.scatter_mul,
}


def in_its_own(eqn: Any, *values: Reals) -> list[Reals]:
    """The primitive's outputs as the jaxpr says."""
    pairs = zip(values, (atom.aval.dtype for atom in eqn.invars), strict=True)
    own = [v if isinstance(v, jax.Array) else np.asarray(v).astype(dtype) for v, dtype in pairs]
    return _run(eqn, own, eqn.params)


def _promoted(param: Any) -> Any:
    if not isinstance(param, np.dtype) or not is_real(param):
        return param
    return np.dtype(np.complex128 if param.kind == "c" else np.float64)


def _run(eqn: Any, values: Any, params: dict[str, Any]) -> list[Reals]:
    outputs = eqn.primitive.bind(*values, **params)
    return [exact(output).value for output in (outputs if eqn.primitive.multiple_results else [outputs])]


def fallback(rounding: Rounding, eqn: Any, *inputs: Bounded) -> Any:
    """The rule of last resort. It leaves the primitive's name in `rounding.fallbacks`."""
    name = eqn.primitive.name
    run, values = _first_that_works(eqn, [x.value for x in inputs])
    if run is in_its_own and OWN.get(name) != "bits":
        rounding.opaque.add(name)
    reals = [is_real(var.aval.dtype) for var in eqn.outvars]
    certain = all(x.error is None for x in inputs)
    if rounding.values_only or (certain and (not any(reals) or OWN.get(name) == "bits")):  # argmax of exact numbers
        outputs = [Bounded(value, None) for value in values]
    else:
        rounding.fallbacks.add(name)
        spreads = _spreads(rounding, eqn, run, inputs, values)
        size = sum(np.size(x.value) for x in inputs)
        outputs = [
            _estimated(rounding, value, spread, size) if real else _decided(value, spread)
            for value, spread, real in zip(values, spreads, reals, strict=True)
        ]
    return outputs if eqn.primitive.multiple_results else outputs[0]


def _first_that_works(eqn: Any, values: list[Reals]) -> tuple[Callable[..., list[Reals]], list[Reals]]:
    # Dtypes inside parameters (inner jaxprs, a kernel's avals) may hold the primitive to its own.
    name, problem = eqn.primitive.name, None
    for run in (in_its_own,) if name in OWN else (in_double, in_its_own):
        try:
            return run, run(eqn, *values)
        except Exception as error:
            problem = error
    raise NotImplementedError(f"no rounding-error rule for the primitive {name}, and alone it cannot run") from problem


def _spreads(rounding, eqn, run, inputs, values) -> list[Reals]:
    """Per output, how far its elements moved at most."""
    rng = np.random.default_rng(0)
    spreads = [np.zeros(np.shape(value)) for value in values]
    for _ in range(TRIALS):
        outputs = run(eqn, *[_moved(rounding, rng, x) for x in inputs])
        for i, (output, value) in enumerate(zip(outputs, values, strict=True)):
            same = (output == value) | ((output != output) & (value != value))
            change = np.abs(output.astype(value.dtype if value.dtype.kind == "c" else float) - value)
            spreads[i] = np.fmax(spreads[i], np.where(same, 0, np.where(np.isnan(change), np.inf, change)))
    return spreads


def _moved(rounding: Rounding, rng: np.random.Generator, x: Bounded) -> Reals:
    if not is_real(x.value.dtype):
        if x.error is None:
            return x.value
        signs = rng.choice([-1, 1], x.value.shape)
        if x.value.dtype == bool:
            return x.value ^ (error_of(x) & (signs > 0))
        reach = np.minimum(error_of(x), x.value.size)  # whatever a place in doubt may be, it is one of so many
        return (x.value + np.rint(signs * reach)).astype(x.value.dtype)
    signs = rng.choice([-1.0, 1.0], x.value.shape)
    if x.value.dtype.kind == "c":
        signs = (signs + 1j * rng.choice([-1.0, 1.0], x.value.shape)) / np.sqrt(2)
    # 2 u |x| is an ulp or more, so that it moves x in its own dtype too.
    moved = x.value + signs * (error_of(x) + 2 * rounding.u * np.abs(x.value) + rounding.underflow)
    return np.where(np.isfinite(x.value), moved, x.value)


def _estimated(rounding: Rounding, value: Reals, spread: Reals, size: int) -> Bounded:
    largest = np.max(np.abs(value), initial=0, where=np.isfinite(value))
    normwise = rounding.u * (FEW + np.sqrt(size)) * largest
    return Bounded(value, SAFETY * spread + normwise + rounding.underflow)


def _decided(value: Reals, spread: Reals) -> Bounded:
    """Whole numbers and bools, such as the place of a maximum: exact unless they changed."""
    if not spread.any():
        return Bounded(value, None)
    return Bounded(value, spread > 0 if value.dtype == bool else spread)
