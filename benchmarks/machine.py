"""What a result depends on and is printed with: the machine, the versions, the flags."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

FLAGS = ("XLA_FLAGS", "JAX_PLATFORMS", "JAX_ENABLE_X64", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
THREADS = 2
"""So that figures of different machines can be set side by side, and one process has what it says it has."""


def pin(threads: int = THREADS) -> None:
    """Gives this process so many of its CPUs. To be called before jax, torch or NumPy is imported."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def about() -> dict[str, dict[str, Any]]:
    """`machine`, `versions` and `flags`, for the JSON."""
    import jax
    import torch

    from .held import products
    from .peers import torch_device

    device = jax.devices()[0]
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "machine": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "threads": cpus,
            "torch_threads": torch.get_num_threads(),
            "platform": device.platform,
            "device": device.device_kind,
            "products": products().name,
            "torch_device": str(torch_device()),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("pullback", "jax", "jaxlib", "torch", "optax", "numpy")},
        },
        "flags": {name: os.environ.get(name, "") for name in FLAGS},
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
