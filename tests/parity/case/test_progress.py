import numpy as np
import pytest

from pullback import parity
from pullback.parity.case.progress import listening, step


def test_nobody_listens():
    step("no one hears it")


def test_steps_are_heard_while_somebody_listens():
    heard = []
    with pytest.raises(KeyError), listening(heard.append):
        step("one")
        raise KeyError
    step("two")
    assert heard == ["one"]


def test_a_check_says_what_it_is_at():
    def double(x):
        return 2 * x

    heard = []
    with listening(heard.append):
        parity.check(double, np.ones(2, np.float32), checks=["values", "kinks"])
    assert heard == [
        "double: its first call",
        "double: oracle",
        "double: values, check 1 of 2",
        "double: kinks, check 2 of 2",
    ]
    with listening(heard.append):
        parity.check_mnist(4, 2, source="sample")
    assert heard[4:] == ["the net, of 4 rows", "each operation alone"]
