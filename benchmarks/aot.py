"""The real TPU compiler, with no TPU: what it makes of this library's functions, on one chip and on many.

`make test-tpu` prints the table, after tests/tpu has held it to what it must be. It needs libtpu, in an environment of
its own: a machine without a TPU that has libtpu installed looks for one at every start. The figures are what the
compiler says of its own program: counts, not measurements.
"""

import functools
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

# Before libtpu is loaded: there is no TPU here, and no metadata server to ask for one.
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")

import jax
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pullback.functional import forward_and_backward, mlp
from pullback.functional.experimental.fused_pallas import kernel_call
from pullback.parallel import make_mesh, param_specs, sharded_sgd_epoch, sharded_value_and_grad

LESSON, WIDE = (784, 50, 1), (784, 8192, 10)
ROWS, BATCH = 50_000, 512
MOMENTS = {"mean": 33.3, "std": 78.6}
MEMORY = 16e9
"""Bytes of a v5e chip's memory. Source: Google Cloud's documentation, "TPU v5e"."""
COLLECTIVES = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all"
Collectives = tuple[tuple[int, ...], ...]
"""For each collective of a program, the number of elements of each of its operands."""


@dataclass(frozen=True)
class Program:
    """A function to compile, and which collectives must be in it."""

    name: str
    mesh: Mesh
    lower: Callable[[], Any]
    collectives: Collectives = ()


@dataclass(frozen=True)
class Figures:
    """What the compiler says, per chip. The body of a loop counts once in flops and bytes_accessed."""

    flops: float
    bytes_accessed: float
    argument_bytes: int
    output_bytes: int
    temporary_bytes: int
    collectives: Collectives

    @property
    def memory(self) -> int:
        """Bytes of arguments, results and temporaries at once."""
        return self.argument_bytes + self.output_bytes + self.temporary_bytes


def chips(topology: str) -> list[Any]:
    """The devices of a slice, `v5e:2x2` say, which need not exist. Raises an error without libtpu."""
    return list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)


def compiled(program: Program) -> Figures:
    """Compiles it for its chips."""
    done = program.lower().compile()
    cost, memory = done.cost_analysis(), done.memory_analysis()
    return Figures(
        cost["flops"],
        cost["bytes accessed"],
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes,
        memory.temp_size_in_bytes,
        collectives_in(done.as_text()),
    )


def collectives_in(hlo: str) -> Collectives:
    """Those of a compiled program, in order of size."""
    found = []
    for line in hlo.splitlines():
        if match := re.search(rf" = (.*?) ({COLLECTIVES})(-start)?\(", line):
            shapes = re.findall(r"[a-z]\w*\[([\d,]*)\]", match[1])
            found.append(tuple(sorted(math.prod(int(size) for size in shape.split(",") if size) for shape in shapes)))
    return tuple(sorted(found))


def programs(
    mesh: Mesh, sizes: Sequence[int], rows: int = ROWS, batch: int = BATCH, tile_rows: int | None = None
) -> Iterator[Program]:
    """forward, forward_and_backward, the fused step and an epoch, each device with its share of rows and of the net.

    tile_rows: of the fused step; by default all in one tile, so that no loop hides some of its work from the figures.
    """
    data, model = mesh.shape["data"], mesh.shape["model"]
    rows = -(-rows // data) * data
    here = rows // data

    def array(shape: tuple[int, ...], spec: PartitionSpec, dtype: str = "float32") -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))

    shapes = list(zip(sizes[:-1], sizes[1:], strict=True))
    specs = param_specs([(shape, shape[1:]) for shape in shapes])
    params = [
        (array(shape, w), array(shape[1:], b if b is not None else w))
        for shape, (w, b) in zip(shapes, specs, strict=True)
    ]
    by_row = PartitionSpec("data")
    x, targ = array((rows, sizes[0]), by_row), array((rows, sizes[-1]), by_row)
    pixels, mask = array((rows, sizes[0]), by_row, "uint8"), array((rows,), by_row, "bool")
    steps = PartitionSpec(None, "data")
    order, kept = (array((-(-ROWS // batch), batch), steps, dtype) for dtype in ("int32", "bool"))

    # A leaf that is divided along "model" is reduced in parts, by the devices that hold the same part.
    parts = [
        math.prod(leaf.shape) // (model if "model" in leaf.sharding.spec else 1) for leaf in jax.tree.leaves(params)
    ]
    # With the loss, and for a batch that is masked, the number of rows.
    grads, masked = (() if data == 1 else (tuple(sorted([*parts, *[1] * more])),) for more in (1, 2))

    def outputs(n: int) -> Collectives:
        """The second layer's outputs, added up over the devices that each have some of its inputs."""
        return ((n * sizes[-1],),) if model > 1 else ()

    def program(name: str, function: Any, *args: Any, collectives: Collectives = (), **options: Any) -> Program:
        jitted = jax.jit(function, **options)
        return Program(name, mesh, lambda: jitted.lower(*args), tuple(sorted(collectives)))

    step = functools.partial(sharded_value_and_grad, mesh)
    epoch = functools.partial(sharded_sgd_epoch, mesh)
    yield program("forward", mlp, params, x, collectives=outputs(here))
    yield program("forward_and_backward", _without_x_bar, params, x, targ, collectives=(*outputs(here), *grads))
    yield program(
        "fused step, uint8",
        functools.partial(step, tile_rows=tile_rows or here, **MOMENTS),
        params,
        pixels,
        targ,
        mask,
        collectives=(*outputs(here), *masked),
    )
    if model == 1:
        yield program(
            "the same, 10 microbatches",
            functools.partial(step, tile_rows=-(-here // 10), **MOMENTS),
            params,
            pixels,
            targ,
            mask,
            collectives=masked,
        )
    yield program(
        "sgd_epoch, one step of it",
        lambda params, x, targ, order, mask: epoch(params, x, targ, order, 0.01, mask=mask, **MOMENTS),
        params,
        pixels,
        targ,
        order,
        kept,
        collectives=(*outputs(batch // data), *masked),
        donate_argnums=0,
    )
    if data == model == 1:
        kernel = functools.partial(kernel_call, tile_rows=512, interpret=False)
        yield program("Pallas kernel", kernel, params, x, targ)


def _without_x_bar(params: Any, x: Any, targ: Any) -> Any:
    loss, grads, _x_bar = forward_and_backward(params, x, targ)
    return loss, grads


def meshes() -> Iterator[tuple[str, Mesh, tuple[int, ...]]]:
    """What the table shows: title, mesh and net."""
    lesson, wide = (" → ".join(f"{size:,}" for size in sizes) for sizes in (LESSON, WIDE))
    square, slice16 = chips("v5e:2x2"), chips("v5e:4x4")
    yield f"{lesson}, one v5e chip", make_mesh(devices=square[:1]), LESSON
    yield f"{lesson}, v5e 2×2, data 4", make_mesh(devices=square), LESSON
    yield f"{lesson}, v5e 4×4, data 16", make_mesh(devices=slice16), LESSON
    yield f"{wide}, v5e 2×2, data 2 × model 2", make_mesh(model=2, devices=square), WIDE
    yield f"{wide}, v5e 4×4, data 4 × model 4", make_mesh(model=4, devices=slice16), WIDE


def table() -> str:
    """All of it, in Markdown."""
    lines = []
    for title, mesh, sizes in meshes():
        lines += [
            f"**{title}**",
            "",
            "| per chip | MFLOP | MB read and written | MB arguments | MB results | MB temporary | collectives |",
            "|---|---:|---:|---:|---:|---:|---|",
        ]
        for program in programs(mesh, sizes):
            of = compiled(program)
            sums = ", ".join(f"{sum(elements):,}" for elements in of.collectives) or "none"
            memory = (of.argument_bytes, of.output_bytes, of.temporary_bytes)
            cells = [of.flops / 1e6, of.bytes_accessed / 1e6, *(size / 1e6 for size in memory)]
            lines.append(f"| {program.name} | " + " | ".join(f"{cell:,.1f}" for cell in cells) + f" | {sums} |")
        lines.append("")
    return "\n".join(lines)


def versions() -> str:
    """What the figures depend on."""
    return f"libtpu {version('libtpu')}, jax {jax.__version__}"


if __name__ == "__main__":
    print(f"{versions()}\n\n{table()}")
