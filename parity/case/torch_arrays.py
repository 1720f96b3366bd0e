"""Arrays to torch and back, bit for bit. torch is imported here and nowhere else."""

from typing import Any

import jax.numpy as jnp
import numpy as np

try:
    import torch
except ImportError as error:
    missing = "pullback.parity compares with torch, which is not installed: pip install 'pullback[parity]'"
    raise ImportError(missing) from error

BFLOAT16 = np.dtype(jnp.bfloat16)


def to_torch(array: Any) -> torch.Tensor:
    """A tensor of the array's own dtype, in memory of its own: torch may write where jax must not see it."""
    array = np.array(array, order="C", copy=True)
    if array.dtype == BFLOAT16:  # NumPy knows it by ml_dtypes only, torch by its bits
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """An array of the tensor's own dtype; the tensor may be a view, transposed, or part of a graph."""
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(BFLOAT16)
    return tensor.numpy()
