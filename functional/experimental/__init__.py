"""Functions that were never run on the device they are for. Their names and options may change in any version."""

from .fused_pallas import fused_value_and_grad_pallas

__all__ = [
    "fused_value_and_grad_pallas",
]


def __dir__() -> list[str]:
    return __all__
