import collections
import dataclasses
from typing import Any

import torch

from pullback.parity.layers.tensors import leaves, mapped


@dataclasses.dataclass(frozen=True)
class Output:
    logits: Any
    loss: Any = None


class Named(dict):
    pass


Pair = collections.namedtuple("Pair", ["a", "b"])


def test_trees_keep_their_types():
    x, y = torch.ones(2), torch.zeros(2)
    tree = (x, [y, "text"], {"b": x, "a": Pair(y, None)}, Output(x), Named(k=y))
    found = mapped(tree, lambda tensor: tensor + 1)
    assert isinstance(found, tuple) and found[1][1] == "text" and type(found[2]["a"]) is Pair
    assert type(found[3]) is Output and found[3].loss is None and found[3].logits.tolist() == [2, 2]
    assert type(found[4]) is Named and tree[3].logits is x
    assert [tensor.tolist()[0] for tensor in leaves(tree)] == [1, 0, 0, 1, 1, 0], "dicts in jax's order"
    assert mapped(Output, lambda tensor: tensor) is Output
