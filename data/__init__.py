"""MNIST: fetched, verified, decoded, normalized."""

from .cache import cache_dir
from .decode import Split
from .files import DataError
from .mnist import Mnist, SampleDataWarning, cached_files, get_data, load_mnist, normalize

__all__ = [
    "DataError",
    "Mnist",
    "SampleDataWarning",
    "Split",
    "cache_dir",
    "cached_files",
    "get_data",
    "load_mnist",
    "normalize",
]


def __dir__() -> list[str]:
    return __all__
