"""MNIST: fetched, verified, decoded, normalized."""

from .decode import DataError as DataError
from .decode import Split as Split
from .fetch import cache_dir as cache_dir
from .mnist import Mnist as Mnist
from .mnist import SampleDataWarning as SampleDataWarning
from .mnist import cached_files as cached_files
from .mnist import get_data as get_data
from .mnist import load_mnist as load_mnist
from .mnist import normalize as normalize
