import numpy as np

from pullback.parity.layers.marks import Place
from pullback.parity.layers.recording import Recording

X, BAR = np.ones((2, 3)), np.full((2, 3), 2.0)
OUT = Place("a", "out", 0)


def test_the_places_of_a_call_are_in_order():
    places = [OUT, Place("a", "out", 1), Place("a", "out", 0, 1)]
    recording = Recording(dict.fromkeys(reversed(places), X))
    assert recording.leaves("a", "out", 0) == places[:2] and recording.leaves("a", "in", 0) == []


def test_a_cotangent_that_did_not_come_is_0_where_torch_differentiates():
    back = OUT._replace(backward=True)
    assert Recording({OUT: X}).cotangent(back) is None
    np.testing.assert_array_equal(Recording({OUT: X}, {OUT}).cotangent(back), np.zeros((2, 3)))
    np.testing.assert_array_equal(Recording({OUT: X, back: BAR}, {OUT}).cotangent(back), BAR)
