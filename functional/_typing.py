"""Shape annotations that cost the user nothing.

`Float[Array, "n fan_in"]` is read by people, by pyright, and (with beartype) by the tests. jaxtyping is
not a dependency of the core, so without it the same annotation simply means `Array`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import jax
from jax import Array

if TYPE_CHECKING:
    from jaxtyping import Float as Float
    from jaxtyping import Integer as Integer
else:
    try:
        from jaxtyping import Float as Float
        from jaxtyping import Integer as Integer
    except ImportError:

        class Float:
            def __class_getitem__(cls, item):
                return item[0]

        Integer = Float

Result = TypeVar("Result")


def custom_vjp(nondiff_argnums: tuple[int, ...]) -> Callable[[Callable[..., Result]], jax.custom_vjp[Result]]:
    """`jax.custom_vjp` of a function with static arguments. partial alone would hide the result's type from pyright."""
    return cast(Any, partial(jax.custom_vjp, nondiff_argnums=nondiff_argnums))


Params: TypeAlias = Sequence[tuple[Array, Array | None]]
"""A dense net: one `(w[fan_in, fan_out], b[fan_out])` per layer, first layer first; b may be None."""
