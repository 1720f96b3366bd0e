"""How far rounding really moves a result: the same computation many times, each operation rounded at random.

A bound that carries each value's worst case through the next operation grows by a constant factor a layer, while true
errors do not: they correlate and cancel. So the jaxpr is evaluated in float64 again and again, each operation's result
moved at random within its *own* rounding error, and the spread of the outputs is their error (Monte Carlo arithmetic:
Parker 1997; CESTAC: Vignes, Math. and Computers in Simulation 35, 1993; Verificarlo: Denis, de Oliveira Castro and
Petit, ARITH 2016). The rules say what an operation rounds; what they carry is not used here.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .bounded import Bounded, Reals, Rounding, is_real
from .interpreter import LONG, TooLong, apply, chosen, constant, folds, inner_call, is_call, loop, scan, walk
from .rules.comparisons import COMPARISONS
from .rules.elementary import ELEMENTARY
from .rules.linalg import backward, stored
from .rules.special import SPECIAL

SAMPLES = 12
AMPLIFIED, FACTOR = 2.0, 3.0
"""Roundings are drawn twice as large, so that the samples reach decisions that rare roundings would turn, and a result
agrees within three standard deviations of them, six of real ones: what that means for false alarms is in the docs."""
ELEMENTWISE = {*ELEMENTARY, *SPECIAL, *COMPARISONS}
ELEMENTWISE |= {"add", "add_any", "sub", "mul", "div", "neg", "abs", "integer_pow", "square"}
ELEMENTWISE |= {"pow", "max", "min", "floor", "ceil", "sign", "select_n", "and", "or", "not", "is_finite", "rem"}
ELEMENTWISE |= {"one_minus_square", "convert_element_type", "stop_gradient", "copy", "copy_p"}
ELEMENTWISE |= {"real", "imag", "conj", "complex"}
"""All samples of these in one call: their rules do not ask for shapes."""


class Varied(NamedTuple):
    """A value in all samples along a first axis, the first of them without noise; or, not varied, in each the same."""

    value: Any
    varied: bool = False
    folded: bool = False  # whether it is a number of the program's, as in Bounded


class Spread(NamedTuple):
    """An output: its exact value, how far rounding may move it, and where it leads to NaN or out of range, or back."""

    value: Reals
    error: Reals
    unsafe: Reals


def spreads(rounding: Rounding, closed: Any, args: list[Bounded], seed: int = 0) -> list[Spread]:
    """Each output's spread; gates and kinks are counted in `rounding`."""
    sampler = _Sampler(rounding, np.random.default_rng(seed))
    moved = [Varied(x.value) if x.error is None else sampler.moved(Varied(x.value), x.error) for x in args]
    found = sampler.evaluate(closed, moved)
    return [_spread(rounding, x, aval.dtype) for x, aval in zip(found, closed.out_avals, strict=True)]


def _spread(rounding: Rounding, x: Varied, dtype: Any) -> Spread:
    values = np.asarray(x.value)
    if not x.varied or values.dtype.kind not in "fc":
        first = values[0] if x.varied else values
        error = np.max(values != first, axis=0) if x.varied else False
        return Spread(first, np.broadcast_to(np.where(error, np.inf, 0.0), first.shape), np.zeros(first.shape, bool))
    exact, samples = values[0], values[1:]
    same = (samples == exact) | (np.isnan(samples) & np.isnan(exact))
    off = np.where(same, 0, np.abs(samples - exact))
    unsafe = ~np.isfinite(off).all(0)
    sigma = np.sqrt(np.mean(off**2, axis=0))
    error = np.where(sigma == 0, 0, FACTOR * sigma + rounding.underflow_of(dtype))
    return Spread(exact, np.where(np.isnan(error), np.inf, error), unsafe)


class _Sampler:
    def __init__(self, rounding: Rounding, rng: np.random.Generator):
        self.rounding, self.rng = rounding, rng

    def evaluate(self, jaxpr: Any, args: list[Varied]) -> list[Varied]:
        consts = [self.constant(const, getattr(const, "dtype", None)) for const in getattr(jaxpr, "consts", ())]
        return walk(jaxpr, consts, args, lambda atom: self.constant(atom.val, atom.aval.dtype), self.apply)

    def constant(self, value: Any, dtype: Any) -> Varied:
        x = constant(self.rounding, value, dtype)
        return Varied(x.value, folded=x.folded) if x.error is None else self.moved(Varied(x.value), x.error)

    def apply(self, eqn: Any, inputs: list[Varied]) -> list[Varied]:
        name = eqn.primitive.name
        if is_call(eqn):
            return self.evaluate(*inner_call(eqn, inputs))
        if name == "scan":
            return scan(eqn, inputs, self.evaluate, _row, _stack)
        if name == "while" and eqn.params["body_jaxpr"] not in LONG:
            try:
                return loop(eqn, inputs, self.evaluate, self.on, _chosen)
            except TooLong:
                pass
        if name == "cond":
            return self.cond(eqn, *inputs)
        moves = backward(self.rounding, eqn, [x.value[0] if x.varied else x.value for x in inputs])
        if moves is not None:
            return self.factors(eqn, [self.moved(x, move) for x, move in zip(inputs, moves, strict=True)])
        if folds(eqn, inputs):
            (number,) = apply(self.rounding, eqn, [Bounded(x.value, None, folded=True) for x in inputs])
            if number.folded:
                return [Varied(number.value, folded=True)]
        if not any(x.varied for x in inputs):
            outputs = apply(self.rounding, eqn, [Bounded(x.value, None) for x in inputs])
            return [self.rounded(eqn, i, Varied(x.value), x.error) for i, x in enumerate(outputs)]
        if name in ELEMENTWISE:
            rank = max(np.ndim(x.value) - x.varied for x in inputs)
            gates = self.rounding.gates
            (output,) = apply(self.rounding, eqn, [Bounded(_lifted(x, rank), None) for x in inputs])
            self.rounding.gates = gates + (self.rounding.gates - gates) // (SAMPLES + 1)  # of one sample
            # Whole numbers step: beyond what the samples reach they are not.
            real = name in COMPARISONS[:6] and jnp.issubdtype(eqn.invars[0].aval.dtype, jnp.floating)
            value = self.sided(inputs, output.value, rank, name in ("eq", "ne")) if real else output.value
            return [self.rounded(eqn, 0, Varied(value, True), output.error)]
        return self.one_by_one(eqn, inputs)

    def factors(self, eqn: Any, inputs: list[Varied]) -> list[Varied]:
        """Factors of a matrix that was moved: they belong together, as those that a library computes do."""
        self.rounding.values_only = True
        samples = [apply(self.rounding, eqn, [Bounded(x.value[k], None) for x in inputs]) for k in range(SAMPLES + 1)]
        self.rounding.values_only = False
        each = [np.stack([sample[i].value for sample in samples]) for i in range(len(eqn.outvars))]
        errors = [stored(self.rounding, var, value[0]) for var, value in zip(eqn.outvars, each, strict=True)]
        return [self.rounded(eqn, i, Varied(value, True), errors[i]) for i, value in enumerate(each)]

    def one_by_one(self, eqn: Any, inputs: list[Varied]) -> list[Varied]:
        each, gates = [], self.rounding.gates
        for k in range(SAMPLES + 1):
            self.rounding.values_only = k > 0  # what this operation rounds is asked of the exact values
            each.append(apply(self.rounding, eqn, [Bounded(x.value[k] if x.varied else x.value, None) for x in inputs]))
        self.rounding.values_only = False
        self.rounding.gates = gates + (self.rounding.gates - gates) // (SAMPLES + 1)
        stacked = [Varied(np.stack([out[i].value for out in each]), True) for i in range(len(each[0]))]
        return [self.rounded(eqn, i, x, each[0][i].error) for i, x in enumerate(stacked)]

    def rounded(self, eqn: Any, which: int, x: Varied, error: Reals | None) -> Varied:
        dtype = eqn.outvars[which].aval.dtype
        if not is_real(dtype):
            return x
        if error is not None and np.any(error):
            x = self.moved(x, error)
        if x.varied and self.rounding.counts(dtype):
            top = float(jnp.finfo(dtype).max)
            beyond = np.abs(x.value) > top
            beyond[0] = False
            if beyond.any():  # as the dtype would have it
                x = Varied(np.where(beyond, np.inf * np.sign(x.value), x.value), True)
        return x

    def moved(self, x: Varied, error: Reals) -> Varied:
        """Every sample but the first, at random within the error."""
        shape = np.shape(x.value)[x.varied :]
        error = AMPLIFIED * np.where(np.isfinite(error), error, 0)
        error = error[1:] if np.ndim(error) > len(shape) else error
        noise = self.rng.uniform(-1, 1, (SAMPLES, *shape))
        if np.asarray(x.value).dtype.kind == "c":
            noise = noise * np.exp(1j * self.rng.uniform(0, np.pi, noise.shape))
        value = x.value if x.varied else np.broadcast_to(x.value, (SAMPLES + 1, *shape))
        return Varied(np.concatenate([value[:1], value[1:] + error * noise]), True)

    def sided(self, inputs: list[Varied], value: Reals, rank: int, equality: bool) -> Reals:
        """A comparison within its sides' spread: where all samples fell on one side, some go the other way.

        equality: whether it asks if they are equal, which samples never are, and rounded numbers are. Then most go the
        other way, so that some do in which another comparison turned by itself.
        """
        x, y = (_lifted(x, rank) for x in inputs)
        with np.errstate(all="ignore"):
            gap = np.subtract(x, y, dtype=np.float64)
            sigma = np.sqrt(np.mean((gap[1:] - gap[0]) ** 2, axis=0))
            near = (np.abs(gap[0]) <= FACTOR * sigma) & (sigma > 0)
        self.rounding.gates -= near.size  # the rule has counted them, and knew of no kink
        self.rounding.gate(near)
        alone = near & (value == value[:1]).all(0)
        turn = np.arange(SAMPLES + 1) % 3
        return value ^ (alone & (turn != 0 if equality else turn == 1).reshape(-1, *[1] * rank))

    def on(self, x: Varied) -> Any:
        if x.varied and np.any(x.value != x.value[0]):
            self.rounding.fallbacks.add("while")
        return x.value[0] if x.varied else x.value

    def cond(self, eqn: Any, which: Varied, *args: Varied) -> list[Varied]:
        branches = eqn.params["branches"]
        if not which.varied or np.all(which.value == which.value[0]):
            return self.evaluate(chosen(branches, np.ravel(which.value)[0]), list(args))
        index = np.clip(which.value, 0, len(branches) - 1).astype(int)
        every = [self.evaluate(branch, list(args)) for branch in branches]
        stacked = [[_stacked(x) for x in cases] for cases in zip(*every, strict=True)]
        return [Varied(np.stack([cases[i][k] for k, i in enumerate(index)]), True) for cases in stacked]


def _lifted(x: Varied, rank: int) -> Any:
    """With the samples' axis in front, and room for the axes that broadcasting adds."""
    value = np.asarray(x.value)
    if not x.varied:
        return value[None] if value.ndim == rank else value
    return value.reshape(value.shape[0], *[1] * (rank - (value.ndim - 1)), *value.shape[1:])


def _chosen(going: Any, new: Varied, old: Varied) -> Varied:
    if not (new.varied or old.varied):
        return Varied(np.where(going, new.value, old.value))
    return Varied(np.where(going, _stacked(new), _stacked(old)), True)


def _stacked(x: Varied) -> Any:
    return x.value if x.varied else np.broadcast_to(x.value, (SAMPLES + 1, *np.shape(x.value)))


def _row(x: Varied, i: int) -> Varied:
    return Varied(x.value[:, i] if x.varied else x.value[i], x.varied)


def _stack(rows: list[Varied], aval: Any) -> Varied:
    if not rows:
        return Varied(np.zeros(aval.shape, np.float64 if is_real(aval.dtype) else aval.dtype))
    if any(row.varied for row in rows):
        return Varied(np.stack([_stacked(row) for row in rows], axis=1), True)
    return Varied(np.stack([row.value for row in rows]))
