from types import SimpleNamespace

import pytest

from pullback.parity.layers.calls import Calls, Raised
from pullback.parity.weights.matched import check_match

PORT = SimpleNamespace(params={"block0.fc.kernel": 0, "table": 0})
ORIGINAL = SimpleNamespace(parts={"": 0, "layers.0": 0, "layers.0.lin": 0}, state={"layers.0.lin.weight": 0, "pos": 0})


def check(match, raised=None):
    check_match(match, PORT, Calls(begun=["", "block0", "block0.fc"], raised=raised), ORIGINAL)  # pyright: ignore


@pytest.mark.parametrize("match", [{}, {"block{i}": "layers.{i}"}, {"block{i}.fc": "layers.{i}.lin"}, {"table": "pos"}])
def test_names_that_are_there(match):
    check(match)


@pytest.mark.parametrize(
    ("match", "message"),
    [
        ({"blocks": "layers.0"}, "match has 'blocks', which fits nothing in the port; there are block0, block0.fc"),
        ({"block{i}": "layer.{i}"}, "match makes 'layer.0' of 'block{i}', which the original has not; it has layers.0"),
        ({"block{i}": "layers.{j}"}, "match has 'block{i}': 'layers.{j}', whose braces name what the first has not"),
        ({"block{i}": "layers.{"}, "whose braces name what the first has not"),
    ],
)
def test_names_that_are_not(match, message):
    with pytest.raises(ValueError, match=message.replace("{", r"\{")):
        check(match)


def test_a_port_that_raised_may_not_have_come_to_them():
    check({"blocks": "layers.0"}, Raised("block0", "Block", 0, RuntimeError("no")))
