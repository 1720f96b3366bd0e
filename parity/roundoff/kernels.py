"""A Pallas kernel as an ordinary jaxpr: a loop over its grid that reads blocks, computes, and writes blocks.

That is Pallas's own interpret mode (https://docs.jax.dev, Pallas), which is how a kernel runs where no accelerator is.
The accelerator may add up in another order, which is within the bound of a sum.
"""

import functools
from typing import Any

import jax


@functools.lru_cache(maxsize=64)
def kernel_jaxpr(eqn: Any) -> Any:
    """The closed jaxpr that computes what this pallas_call does, or None where interpret mode does not know how.

    It does not for what only one kind of accelerator has, such as semaphores and copies between memories. Nor is it
    public: another version of jax may have none, and then the kernel is judged as code that is not jax's.
    """
    avals = [jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in eqn.invars]
    try:
        from jax._src.pallas.hlo_interpreter import pallas_call_hlo_interpret as interpreted

        params = {name: value for name, value in eqn.params.items() if name not in ("backend", "interpret")}
        with jax.enable_x64(True):  # else float64 would be narrowed; what is float32 stays so
            return jax.make_jaxpr(functools.partial(interpreted, **params))(*avals)
    except Exception:
        return None
