"""What every workload computes on: rows of MNIST and the lesson's initial weights."""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from pullback.data import Mnist, load_mnist
from pullback.parity.lesson.mnist import batch, draw_params


class Inputs(NamedTuple):
    """NumPy arrays, float32 where nothing else is said."""

    sizes: tuple[int, ...]
    params: Any
    x: np.ndarray
    """[n, 784], normalized."""
    targ: np.ndarray
    """[n], the digit; or [n, 10], one-hot."""
    raw: np.ndarray
    """[n, 784], uint8: the same rows before normalizing."""
    mean: np.float32
    std: np.float32
    """Of the train split, in units of `raw`."""

    def in_dtype(self, dtype: Any) -> "Inputs":
        """The same with params, x and targ rounded to another dtype."""
        cast = functools.partial(jax.tree.map, lambda a: np.asarray(a, dtype))
        return self._replace(params=cast(self.params), x=cast(self.x), targ=cast(self.targ))


@functools.cache
def mnist() -> Mnist:
    """Read once. Warns, as `load_mnist` does, if it is the embedded sample."""
    return load_mnist()


def mnist_rows(n: int, sizes: tuple[int, ...]) -> Inputs:
    """The first n rows of MNIST's train split, from the start again where there are not as many."""
    train = mnist().train
    rows = np.arange(n) % len(train.images)
    x, targ = batch(train, rows, np.dtype(np.float32))
    if sizes[-1] > 1:
        targ = np.eye(sizes[-1], dtype=np.float32)[targ.astype(int)]
    pixels = train.images.astype(np.float32) / 256
    params = draw_params(0, sizes, np.random.default_rng(0), np.dtype(np.float32))
    return Inputs(sizes, params, x, targ, train.images[rows], 256 * pixels.mean(), 256 * pixels.std())
