"""The arguments of a call, taken apart: floating-point leaves one after the other, and how to put them together again.

Every implementation is then a function of these leaves. The rest of the arguments stays as it is.
"""

import enum
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

NUMBERS = (float, complex)
"""Python's own numbers that are differentiated; whole numbers are passed on as they are."""
PASSED_ON = (bool, int, str, bytes, slice, enum.Enum, np.dtype, type(Ellipsis))
"""What is passed on as it is, and functions and types too."""
ARRAYS = (jax.Array, np.ndarray, np.generic)


@dataclass(frozen=True)
class Arguments:
    """The floating-point leaves of a call's arguments (real or complex), in order."""

    leaves: list[np.ndarray]
    names: list[str]  # of the leaves: `x`, `params[0][1]`
    wrt: tuple[int, ...]  # which of them are differentiated: their positions in `leaves`
    rebuild: Callable[[Sequence[Any]], tuple[Any, ...]]  # from leaves to the positional arguments
    kwargs: dict[str, Any]
    described: dict[str, str]
    """Every argument, static ones and kwargs too: name -> what a report says that it is."""
    numbers: list[str] = field(default_factory=list)
    """Names of the leaves that came as Python numbers and were made arrays, to be differentiated."""

    @property
    def diff(self) -> list[np.ndarray]:
        """The leaves that are differentiated."""
        return [self.leaves[i] for i in self.wrt]

    @property
    def diff_names(self) -> list[str]:
        """Their names."""
        return [self.names[i] for i in self.wrt]

    def flat(self, fun: Callable[..., Any]) -> Callable[..., Any]:
        """`fun` as a function of the leaves."""
        return lambda *leaves: fun(*self.rebuild(leaves), **self.kwargs)

    def cast(self, dtype: Any) -> "Arguments":
        """The same with every leaf in `dtype`, or as complex numbers of it. Raises TypeError where there are none."""
        complexes = {"float32": np.complex64, "float64": np.complex128}
        if np.dtype(dtype).name not in complexes and any(leaf.dtype.kind == "c" for leaf in self.leaves):
            raise TypeError(f"there are no complex numbers of {np.dtype(dtype).name}")
        into = [complexes[np.dtype(dtype).name] if leaf.dtype.kind == "c" else dtype for leaf in self.leaves]
        return replace(self, leaves=[leaf.astype(new) for leaf, new in zip(self.leaves, into, strict=True)])

    def with_diff(self, diff: Sequence[np.ndarray]) -> "Arguments":
        """The same with other values of the differentiated leaves."""
        return replace(self, leaves=put(self.leaves, self.wrt, diff))


def take_apart(
    rule: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    static_argnums: Sequence[int] = (),
    nondiff: Sequence[str] = (),
) -> Arguments:
    """The arguments of `rule(*args, **kwargs)`.

    static_argnums: positions of what is passed on as it is, beside those that the rule declares itself (nondiff_argnums
    of a custom_vjp or custom_jvp). nondiff: names of arguments (`mask`) or of single leaves (`params[0][1]`) that are
    not differentiated.

    A Python float becomes an array of the other arguments' coarsest dtype and is differentiated. Whole numbers, truth
    values, text, functions and types are passed on as they are.

    Raises TypeError for a leaf that is anything else, and ValueError if nothing is left to differentiate, a static
    position is none, or a name in nondiff is none of a floating-point argument.
    """
    for number in static_argnums:
        if not -len(args) <= number < len(args):
            raise ValueError(f"static_argnums must be positions among the {len(args)} arguments; got {number}")
    statics = {number % len(args) for number in (*static_argnums, *_declared_static(rule, len(args)))}
    parameters = _parameter_names(rule, len(args))
    dynamic = [() if i in statics else arg for i, arg in enumerate(args)]
    paths, tree = jax.tree_util.tree_flatten_with_path(tuple(dynamic))
    every_owner = [parameters[path[0].idx] for path, _ in paths]
    every_name = [owner + jax.tree_util.keystr(path[1:]) for owner, (path, _) in zip(every_owner, paths, strict=True)]
    given = [leaf for _, leaf in paths]
    number_dtype = _dtype_of_numbers(given)
    kept = [_taken(name, leaf, number_dtype) for name, leaf in zip(every_name, given, strict=True)]
    places = [i for i, leaf in enumerate(kept) if isinstance(leaf, ARRAYS) and is_float(leaf)]
    floats, names, owners = ([each[i] for i in places] for each in (kept, every_name, every_owner))
    wrt = _differentiated(names, owners, [nondiff] if isinstance(nondiff, str) else nondiff)

    def rebuild(new: Sequence[Any]) -> tuple[Any, ...]:
        rebuilt = jax.tree.unflatten(tree, put(kept, places, new))
        return tuple(arg if i in statics else rebuilt[i] for i, arg in enumerate(args))

    static = {parameters[i]: f"{parameters[i]} = {_shown(args[i])}" for i in sorted(statics)}
    described = dict(zip(every_name, map(_described, every_name, kept, given), strict=True)) | static
    described |= {name: f"{name} = {_shown(value)}" for name, value in (kwargs or {}).items()}
    numbers = [name for name, leaf in zip(every_name, given, strict=True) if type(leaf) in NUMBERS]
    return Arguments(floats, names, wrt, rebuild, dict(kwargs or {}), described, numbers)


def _declared_static(rule: Callable[..., Any], count: int) -> list[int]:
    """The positions that a custom_vjp or custom_jvp, under a jit or not, takes as they are: its nondiff_argnums."""
    found: Any = rule
    while found is not None and not isinstance(found, (jax.custom_vjp, jax.custom_jvp)):
        found = getattr(found, "__wrapped__", None)
    declared = () if found is None else found.nondiff_argnums
    return [number for number in declared if -count <= number < count]


def _dtype_of_numbers(leaves: Sequence[Any]) -> np.dtype:
    """What a Python float is taken as: the coarsest dtype of the others, so that no result becomes finer by it."""
    floats = [leaf.dtype for leaf in leaves if isinstance(leaf, ARRAYS) and is_float(leaf)]
    real = [jnp.finfo(dtype).dtype for dtype in floats] or [jnp.result_type(float)]
    return max(real, key=lambda dtype: float(jnp.finfo(dtype).eps))


def _described(name: str, leaf: Any, given: Any) -> str:
    if type(given) in NUMBERS:
        return f"{name} = {given!r} as {leaf.dtype}"
    if not isinstance(leaf, ARRAYS):
        return f"{name} = {_shown(leaf)}"
    shape = str(list(leaf.shape)).replace(" ", "")
    if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return f"{name} random key" + (shape if leaf.shape else "")
    return f"{name} {leaf.dtype}{shape}"


def _shown(value: Any) -> str:
    """A static argument in a few characters: its shape if it has one, its name, or how Python writes it."""
    if isinstance(value, ARRAYS):
        return _described("", value, value).strip()
    text = getattr(value, "__name__", None) or " ".join(repr(value).split())
    return text if len(text) <= 40 else f"{text[:36]} ..."


def put(old: Sequence[Any], places: Sequence[int], new: Sequence[Any]) -> list[Any]:
    """The old ones, with new ones at these places."""
    placed = dict(zip(places, new, strict=True))
    return [placed.get(i, leaf) for i, leaf in enumerate(old)]


def _taken(name: str, leaf: Any, number_dtype: np.dtype) -> Any:
    """The leaf as it is passed on. Raises TypeError, naming it, for one that is neither an array nor PASSED_ON."""
    if type(leaf) in NUMBERS:
        complexes = np.complex128 if number_dtype == np.float64 else np.complex64
        return np.asarray(leaf, number_dtype if type(leaf) is float else complexes)
    if not isinstance(leaf, ARRAYS):
        if isinstance(leaf, PASSED_ON) or callable(leaf):
            return leaf
        cure = "make it a jax or NumPy array, or give its argument's position in static_argnums to pass it on as it is"
        raise TypeError(f"argument {name} is of type {type(leaf).__name__}, which is no array: {cure}")
    if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):  # a random key
        return leaf
    # Integers in jax's own width: its primitives take no other.
    return np.asarray(leaf, leaf.dtype if is_float(leaf) else jnp.result_type(leaf))


def _differentiated(names: list[str], owners: list[str], nondiff: Sequence[str]) -> tuple[int, ...]:
    """The positions that are left to differentiate."""
    for name in nondiff:
        if name not in (*names, *owners):
            known = ", ".join(dict.fromkeys([*owners, *names])) or "none"
            raise ValueError(f"nondiff must name floating-point arguments or leaves ({known}); got {name!r}")
    wrt = tuple(i for i, both in enumerate(zip(names, owners, strict=True)) if not set(nondiff).intersection(both))
    if not wrt:
        why = "all of them are in nondiff" if names else "no argument is a floating-point array"
        raise ValueError(f"{why}, so there is nothing to differentiate")
    return wrt


def _parameter_names(rule: Callable[..., Any], count: int) -> list[str]:
    try:
        parameters = inspect.signature(rule).parameters.values()
    except (TypeError, ValueError):
        parameters = []
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [named[i] if i < len(named) else f"args[{i}]" for i in range(count)]


def output_names(tree: Any) -> list[str]:
    """`y` for a single output, `y[0]`, `y['loss']` for several."""
    return ["y" + jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]


def is_float(leaf: Any) -> bool:
    """Whether an array is differentiated, or gets a cotangent: one of real or complex numbers."""
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def is_complex(leaf: Any) -> bool:
    """Whether an array is one of complex numbers."""
    return jnp.issubdtype(leaf.dtype, jnp.complexfloating)
