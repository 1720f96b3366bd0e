"""How the fused step scales over 1 to 256 TPU v5e chips: the compiler's figures, and a model of time made of them.

`make scaling`, in the environment of `make test-tpu`. Nothing here was measured on a TPU. What the model assumes is in
docs/scaling.md, and in the constants below.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pullback.parallel import make_mesh

from . import aot

SLICES = {1: (1, 1), 4: (2, 2), 8: (2, 4), 16: (4, 4), 32: (4, 8), 64: (8, 8), 128: (8, 16), 256: (16, 16)}
"""Chips, and their rectangle."""
PEAK, BANDWIDTH = 197e12, 819e9
"""A chip's FLOP/s in bfloat16 products, and its memory's bytes/s. Source: Google Cloud's documentation, "TPU v5e"."""
LINK = 50e9
"""Bytes/s of a link in one direction: 400 GB/s a chip, by four links in both directions. Same source."""
HOP = 1e-6
"""Seconds from chip to chip. An assumption: no figure is published."""
RING = 16
"""An axis of that length is closed to a ring; a shorter one is a line. (v5e's pod is a 16 × 16 torus.)"""


@dataclass(frozen=True)
class Point:
    """One step of one net on one slice."""

    chips: int
    rows: int
    """Of the whole batch."""
    of: aot.Figures

    @property
    def compute(self) -> float:
        """Seconds, if the chip reaches the faster of its two limits: products or memory."""
        return max(self.of.flops / PEAK, self.of.bytes_accessed / BANDWIDTH)

    @property
    def all_reduce(self) -> float:
        """Seconds for all collectives: each chip sends 2 (N - 1) / N of the bytes, over one link or around a ring."""
        if self.chips == 1:
            return 0.0
        axes = SLICES[self.chips]
        closed = all(axis == RING for axis in axes)
        sent = 4 * sum(map(sum, self.of.collectives)) * 2 * (self.chips - 1) / self.chips
        hops = sum(axis // 2 if closed else axis - 1 for axis in axes)
        return sent / (LINK * (2 if closed else 1)) + len(self.of.collectives) * 2 * hops * HOP

    @property
    def seconds(self) -> float:
        """One after the other: nothing overlaps, as there is nothing left to compute when the gradients are there."""
        return self.compute + self.all_reduce


def fused_step(count: int, sizes: tuple[int, ...], rows: int, tile_rows: int | None = None) -> aot.Figures:
    """What the compiler says of the fused step on uint8, on a slice of so many chips."""
    a, b = SLICES[count]
    devices = aot.chips("v5e:2x2")[:1] if count == 1 else aot.chips(f"v5e:{a}x{b}")
    programs = aot.programs(make_mesh(devices=devices), sizes, rows, tile_rows=tile_rows)
    return aot.compiled(next(program for program in programs if program.name == "fused step, uint8"))


def points(sizes: tuple[int, ...], rows: int, weak: bool) -> Iterator[Point]:
    """rows on each chip (weak scaling) or all together (strong)."""
    for count in SLICES:
        total = rows * count if weak else rows
        yield Point(count, total, fused_step(count, sizes, total))


STUDIES = (
    ("784 → 50 → 1, 50,000 rows a chip", aot.LESSON, 50_000, True),
    ("784 → 50 → 1, 50,000 rows in all", aot.LESSON, 50_000, False),
    ("784 → 8,192 → 10, 4,096 rows a chip", aot.WIDE, 4_096, True),
    ("784 → 8,192 → 10, 65,536 rows in all", aot.WIDE, 65_536, False),
)


def table() -> str:
    """All of it, in Markdown."""
    lines = []
    for title, sizes, rows, weak in STUDIES:
        lines += [
            f"**{'Weak' if weak else 'Strong'} scaling: {title}**",
            "",
            "| chips | rows a chip | MFLOP a chip | MB read and written | MB of memory | compute, µs | all-reduce, µs |"
            " efficiency | rows/s |",
            "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        first = None
        for point in points(sizes, rows, weak):
            first = first or point
            ideal = first.seconds if weak else first.seconds / point.chips
            lines.append(
                f"| {point.chips} | {-(-point.rows // point.chips):,} | {point.of.flops / 1e6:,.0f} "
                f"| {point.of.bytes_accessed / 1e6:,.1f} | {point.of.memory / 1e6:,.0f} | {1e6 * point.compute:,.0f} "
                f"| {1e6 * point.all_reduce:,.0f} | {ideal / point.seconds:.0%} | {point.rows / point.seconds:.1e} |"
            )
        lines.append("")
    return "\n".join(lines)


def many_rows(rows: int = 10**9, tile_rows: int = 8_192) -> str:
    """The fused step on so many rows of uint8, resident: whether it fits, by the compiler."""
    lines = ["| chips | GB of rows a chip | GB of memory a chip | |", "|---:|---:|---:|---|"]
    for count in (32, 64, 128, 256):
        share = -(-rows // count) * 785 / 1e9
        try:
            memory = fused_step(count, aot.LESSON, rows, tile_rows).memory / 1e9
            lines.append(f"| {count} | {share:.1f} | {memory:.1f} | fits |")
        except Exception as error:
            lines.append(f"| {count} | {share:.1f} | | refused: {str(error).splitlines()[0][:200]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(f"{aot.versions()}\n\n{table()}\n**10⁹ rows, resident**\n\n{many_rows()}")
