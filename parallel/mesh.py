"""A mesh of devices with the axes "data" and "model", and how a dense net lies on it.

The rows of a batch are divided along "data". Along "model" the wide layers are, in pairs: the first of a pair by its
units (columns of w, and b), the second by its inputs (rows of w), so that the activations between them are never whole
on any device, and one all-reduce of the second's output is all that a pair needs going forward.

Source: Shoeybi et al., "Megatron-LM: Training Multi-Billion Parameter Language Models Using Model Parallelism", 2019,
section 3.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pullback.functional import Params
from pullback.functional._check import check_concrete
from pullback.functional._check_net import check_params

from .agree import check_same

DATA, MODEL = "data", "model"


def make_mesh(data: int | None = None, model: int = 1, *, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of data × model devices, for every function here.

    data: by default as many as there are devices for. devices: by default all that jax finds, in all processes; a mesh
    smaller than that takes the first ones, which is for one process only. The axes are Auto: where this library does
    not place a collective by hand, the compiler does.

    Raises ValueError where there are too few devices, model does not divide them, or a process would have none.
    """
    devices = list(jax.devices() if devices is None else devices)
    for name, size in (("data", data), ("model", model)):
        if not (size is None and name == "data") and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise ValueError(f"make_mesh: {name} must be a positive integer; got {size!r}")
    found = f"{len(devices)} ({devices[0].platform})" if devices else "none"
    if data is None:
        if not devices or len(devices) % model:
            raise ValueError(f"make_mesh: model must divide the number of devices, {found}; got model = {model}")
        data = len(devices) // model
    if data * model > len(devices):
        more = ""
        if devices and devices[0].platform == "cpu":
            more = f". JAX_NUM_CPU_DEVICES={data * model} in the environment makes as many of a CPU"
        raise ValueError(
            f"make_mesh: data × model = {data} × {model} needs {data * model} devices; there are {found}{more}"
        )
    used = devices[: data * model]
    if jax.process_count() > 1 and len({device.process_index for device in used}) < jax.process_count():
        raise ValueError(
            f"make_mesh: data × model = {data} × {model} leaves out a process; {jax.process_count()} processes have "
            f"{len(devices)} devices together"
        )
    return jax.make_mesh((data, model), (DATA, MODEL), axis_types=(AxisType.Auto, AxisType.Auto), devices=used)


def param_specs(params: Sequence[tuple[Any, Any]]) -> list[tuple[PartitionSpec, PartitionSpec | None]]:
    """How each `(w, b)` of params lies along "model": in pairs, by units, then by inputs; an odd last layer whole."""
    by_units, by_inputs = (PartitionSpec(None, MODEL), PartitionSpec(MODEL)), (PartitionSpec(MODEL), PartitionSpec())
    pairs = len(params) // 2
    specs = [by_units, by_inputs] * pairs + [(PartitionSpec(), PartitionSpec())] * (len(params) % 2)
    return [(w, None if bias is None else b) for (w, b), (_, bias) in zip(specs, params, strict=True)]


def shard_params(mesh: Mesh, params: Sequence[tuple[Any, Any]]) -> Params:
    """params on the mesh: divided along "model" as `param_specs` says, and the same on every device along "data".

    The shapes of the whole arrays stay what they are.
    Every process gives the same params, jax's arrays or NumPy's: from the same key, or the same file. Raises ValueError
    where processes differ, naming the leaf, where widths do not fit each other, and where the model axis does not
    divide a layer, naming it; TypeError where a leaf is no floating-point array, or dtypes differ.
    """
    check_concrete("shard_params", params)
    check_params("shard_params", params)
    specs, size = param_specs(params), mesh.shape[MODEL]
    for layer, ((w, _), (spec, _)) in enumerate(zip(params, specs, strict=True)):
        for axis, name in enumerate(spec):
            if name == MODEL and w.shape[axis] % size:
                raise ValueError(
                    f"shard_params: the mesh's model axis, {size}, must divide axis {axis} of params[{layer}]'s w; "
                    f"got w {w.dtype}{list(w.shape)}"
                )
    check_same("params", params)

    def placed(leaf: Any, spec: PartitionSpec) -> jax.Array:
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, NamedSharding(mesh, spec), lambda index: whole[index])

    return jax.tree.map(placed, list(params), specs)
